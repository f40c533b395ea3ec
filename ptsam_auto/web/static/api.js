// Talks to the server: requests with a token, packed pixels, and COCO's run lengths.

const PATIENCE = 5; // How often a request is repeated if the server is busy.

let token = sessionStorage.getItem("token") || "";
if (location.hash.startsWith("#token=")) {
  token = decodeURIComponent(location.hash.slice(7));
  sessionStorage.setItem("token", token);
  history.replaceState(null, "", location.pathname);
}

/** An answer that is not the one that was asked for; its message is for people. */
export class Refused extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

/** Take a new token. */
export function useToken(given) {
  token = given;
  sessionStorage.setItem("token", given);
}

/** Send a request and return the answer. If the server is busy, it is repeated when the server says. */
export async function send(path, options = {}) {
  for (let attempt = 0; ; attempt++) {
    let answer;
    const headers = { ...options.headers, ...(token ? { authorization: `Bearer ${token}` } : {}) };
    try {
      answer = await fetch(path, { ...options, headers });
    } catch (error) {
      if (error.name === "AbortError") throw error;
      throw new Refused(0, "The server does not answer. Is ptsam-auto still running?");
    }
    if (answer.ok) return answer;
    if (answer.status === 503 && attempt < PATIENCE) {
      const seconds = Number(answer.headers.get("retry-after")) || 1;
      await new Promise((resolve) => setTimeout(resolve, 1000 * Math.min(seconds, 10)));
      continue;
    }
    let detail = `The server answers ${answer.status}.`;
    try {
      const body = await answer.json();
      detail = typeof body.detail === "string" ? body.detail : JSON.stringify(body.detail);
    } catch { /* The answer is no JSON. */ }
    throw new Refused(answer.status, detail);
  }
}

/** Send a request and return its JSON. */
export async function json(path, options) {
  const answer = await send(path, options);
  return answer.status === 204 ? null : answer.json();
}

/** Bytes of a text in base64. */
export function bytes(text) {
  return Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
}

/** The values that the server has packed: base64 of zlib. */
export async function unpacked(text) {
  const stream = new Blob([bytes(text)]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

/** COCO's run lengths of a mask: columns from left to right, background first. */
export function runsOf(mask, width, height) {
  const counts = [];
  let value = 0, length = 0;
  for (let x = 0; x < width; x++) {
    for (let place = x; place < mask.length; place += width) {
      if (mask[place] === value) {
        length++;
      } else {
        counts.push(length);
        value = mask[place];
        length = 1;
      }
    }
  }
  counts.push(length);
  return { size: [height, width], counts };
}

/** The mask of COCO's run lengths. */
export function maskOf({ size: [height, width], counts }) {
  const mask = new Uint8Array(width * height);
  let place = 0, value = 0;
  for (const length of counts) {
    if (value) {
      for (let at = place; at < place + length; at++) mask[(at % height) * width + Math.floor(at / height)] = 1;
    }
    place += length;
    value = 1 - value;
  }
  return mask;
}
