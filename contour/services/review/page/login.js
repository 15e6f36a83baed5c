import { asked, changed, putWords } from "/static/server.js";

const words = await asked("/api/words");
putWords(words);
document.getElementById("login").addEventListener("submit", async (event) => {
  event.preventDefault();
  const [name, password, message] = ["name", "password", "message"].map((id) => document.getElementById(id));
  message.textContent = "";
  try {
    await changed("/api/login", { login: name.value.trim(), password: password.value });
    location.assign("/");
  } catch (error) {
    password.value = "";
    message.textContent = words.page[error.code === 429 ? "too_many_tries" : "wrong_password"];
    password.focus();
  }
});
