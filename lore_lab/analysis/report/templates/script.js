"use strict";
// Hover: the values of every visible arm at the nearest step. Toggle: show and hide an arm in all charts of its sweep.
const LEFT = 52, RIGHT = 622, WIDTH = 640;

function nearest(steps, wanted) {
  let best = 0;
  for (let i = 1; i < steps.length; i++) if (Math.abs(steps[i] - wanted) < Math.abs(steps[best] - wanted)) best = i;
  return best;
}

function tipLine(arm, i, colour) {
  const row = document.createElement("div"), mark = document.createElement("i");
  mark.style.background = colour;
  row.append(mark, `${arm.label}: ${arm.mean[i]} (${arm.low[i]} to ${arm.high[i]})`);
  return row;
}

function hover(figure) {
  const svg = figure.querySelector(".plot svg"), tip = figure.querySelector(".tip"), cursor = svg.querySelector(".cursor");
  const data = JSON.parse(figure.querySelector(".data").textContent), [low, high] = data.x;
  const hide = () => { tip.hidden = true; cursor.setAttribute("hidden", "hidden"); };
  svg.addEventListener("pointerleave", hide);
  svg.addEventListener("pointermove", (event) => {
    const box = svg.getBoundingClientRect(), x = (event.clientX - box.left) / box.width * WIDTH;
    if (x < LEFT || x > RIGHT) return hide();
    const wanted = low + (x - LEFT) / (RIGHT - LEFT) * (high - low);
    const shown = data.arms.filter((arm) => !svg.querySelector(`g[data-arm="${arm.arm}"]`).hasAttribute("hidden"));
    if (!shown.length) return hide();
    const step = shown[0].step[nearest(shown[0].step, wanted)], at = LEFT + (step - low) / ((high - low) || 1) * (RIGHT - LEFT);
    const lines = shown.map((arm) => tipLine(arm, nearest(arm.step, step), svg.querySelector(`g[data-arm="${arm.arm}"] .line`).getAttribute("stroke")));
    tip.replaceChildren(`step ${step}`, ...lines);
    tip.hidden = false;
    tip.style.left = x < WIDTH / 2 ? `${at / WIDTH * box.width + 12}px` : "auto";
    tip.style.right = x < WIDTH / 2 ? "auto" : `${(WIDTH - at) / WIDTH * box.width + 12}px`;
    cursor.removeAttribute("hidden");
    cursor.setAttribute("x1", at);
    cursor.setAttribute("x2", at);
  });
}

function toggle(box) {
  for (const group of box.closest(".sweep").querySelectorAll(`g[data-arm="${box.dataset.toggle}"]`)) group.toggleAttribute("hidden", !box.checked);
}

document.querySelectorAll(".chart").forEach(hover);
document.querySelectorAll("[data-toggle]").forEach((box) => { toggle(box); box.addEventListener("change", () => toggle(box)); });
// Paper has nothing to open.
addEventListener("beforeprint", () => document.querySelectorAll("details").forEach((d) => { d.open = true; }));
