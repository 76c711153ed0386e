// A line over each figure follows its recording; a click into the figure plays from there.
for (const figure of document.querySelectorAll("figure.timed")) {
  const audio = figure.parentElement.querySelector("audio");
  if (!audio) continue;
  const drawing = figure.querySelector(".drawing");
  const { left, right, duration } = Object.fromEntries(
    Object.entries(figure.dataset).map(([name, value]) => [name, Number(value)])
  );
  const line = document.createElement("div");
  line.className = "playhead";
  line.hidden = true;
  drawing.append(line);
  const follow = () => {
    line.hidden = false;
    line.style.left = `${100 * (left + (right - left) * (audio.currentTime / duration))}%`;
    if (!audio.paused) requestAnimationFrame(follow);
  };
  audio.addEventListener("play", follow);
  audio.addEventListener("seeked", follow);
  drawing.addEventListener("click", (event) => {
    const box = drawing.getBoundingClientRect();
    const share = ((event.clientX - box.left) / box.width - left) / (right - left);
    audio.currentTime = Math.min(Math.max(share, 0), 1) * duration;
    audio.play();
  });
}
