const audio = document.querySelector("audio");
const words = [...document.querySelectorAll(".word")];
let lit = [];
// Words of several speakers may be said at once.
function light() {
  const now = audio.currentTime + 0.005;
  const said = TIMES.flatMap(([start, end], n) => (start <= now && now < end ? [n] : []));
  if (String(said) !== String(lit)) {
    lit.forEach((n) => words[n].classList.remove("said"));
    said.forEach((n) => words[n].classList.add("said"));
    if (said.length && !audio.paused) words[said[0]].scrollIntoView({ block: "nearest" });
    lit = said;
  }
}
function follow() {
  light();
  if (!audio.paused) requestAnimationFrame(follow);
}
function hear(word) {
  audio.currentTime = TIMES[word.dataset.n][0];
  audio.play();
}
audio.addEventListener("play", follow);
audio.addEventListener("seeked", light);
document.addEventListener("click", (event) => {
  const word = event.target.closest(".word");
  if (word) hear(word);
});
document.addEventListener("keydown", (event) => {
  if (event.target.matches(".word") && (event.key === "Enter" || event.key === " ")) {
    event.preventDefault();
    hear(event.target);
  }
});
