// What the page asks of its server. Changes carry the session's token; a session that has ended leads to the log-in.

let token = "";

export class Refused extends Error {
  constructor(code, detail) {
    super(detail);
    this.code = code;
  }
}

export async function openSession() {
  const session = await asked("/api/session");
  token = session.csrf;
  return session;
}

export async function asked(path) {
  return (await answered(await fetch(path))).json();
}

export async function askedBytes(path) {
  return (await answered(await fetch(path))).arrayBuffer();
}

export async function changed(path, content) {
  const headers = { "Content-Type": "application/json", "X-CSRF-Token": token };
  return (await answered(await fetch(path, { method: "POST", headers, body: JSON.stringify(content ?? {}) }))).json();
}

async function answered(response) {
  if (response.ok) return response;
  const detail = await response.json().then((content) => content.detail, () => response.statusText);
  if (response.status === 401 && location.pathname !== "/login") location.assign("/login");
  throw new Refused(response.status, typeof detail === "string" ? detail : JSON.stringify(detail));
}

export function putWords(words, root = document) {
  document.documentElement.lang = words.language;
  for (const element of root.querySelectorAll("[data-word]")) element.textContent = words.page[element.dataset.word];
  for (const element of root.querySelectorAll("[data-word-placeholder]")) {
    element.placeholder = words.page[element.dataset.wordPlaceholder];
  }
}
