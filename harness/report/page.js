"use strict";
// The drawing is whole without this: here are zoom, the axis, time instead of events, and tooltips.
const tip = document.body.appendChild(document.createElement("div"));
tip.id = "tip-box"; tip.hidden = true; tip.setAttribute("role", "tooltip");
function show(element, x, y) {
  tip.textContent = element.getAttribute("aria-label"); tip.hidden = false;
  const box = tip.getBoundingClientRect();
  tip.style.left = Math.max(4, Math.min(x + 12, innerWidth - box.width - 6)) + "px";
  tip.style.top = (y + 18 + box.height > innerHeight ? Math.max(4, y - box.height - 10) : y + 18) + "px";
}
for (const title of document.querySelectorAll("svg svg > title, .fault > title, .label > title")) {
  const owner = title.parentNode;
  owner.setAttribute("aria-label", title.textContent); owner.setAttribute("role", "img"); title.remove();
  owner.addEventListener("mousemove", event => show(owner, event.clientX, event.clientY));
  owner.addEventListener("mouseleave", () => { tip.hidden = true; });
}
for (const figure of document.querySelectorAll("figure.picture")) {
  const scroll = figure.querySelector(".scroll"), drawing = figure.querySelector(".drawing");
  const small = figure.classList.contains("small"), length = +drawing.dataset.length || 1;
  const placed = [...drawing.querySelectorAll("[data-x]")].map(element => [element, element.dataset.x.split(" ").map(Number)]);
  const orders = [...drawing.querySelectorAll(".order")].map(line =>
    [line, line.dataset.p.split(" ").map(Number), [...line.nextElementSibling.children]]);
  const operations = [...drawing.querySelectorAll(".op")].sort((a, b) => parseFloat(a.dataset.x) - parseFloat(b.dataset.x));
  const times = drawing.dataset.times ? drawing.dataset.times.split(" ").map(Number) : null;
  const events = drawing.dataset.events ? drawing.dataset.events.split(" ") : [];
  const bad = drawing.querySelector(".op.bad"), axis = drawing.querySelector(".axis");
  const words = [...drawing.querySelectorAll("svg > text")].map(text => [text, text.parentNode, text.getComputedTextLength()]);
  let inTime = false, width = length * drawing.dataset.unit, on = -1;
  const room = () => scroll.clientWidth - scroll.querySelector(".names").offsetWidth;
  const time = at => {
    const index = Math.min(Math.floor(at), times.length - 2);
    return times[index] + (times[index + 1] - times[index]) * (at - index);
  };
  const share = at => inTime ? (time(at) - times[0]) / (times[times.length - 1] - times[0]) : at / length;
  const x = at => share(at) * width;
  function ticks() {
    if (!axis) return;
    axis.textContent = "";
    const whole = inTime ? times[times.length - 1] - times[0] : length, least = whole * 80 / width;
    let step = 10 ** Math.floor(Math.log10(least));
    step *= [1, 2, 5, 10].find(factor => step * factor >= least);
    if (!inTime) step = Math.max(1, Math.round(step));
    const start = inTime ? +drawing.dataset.start : 0;
    for (let at = Math.ceil(start / step) * step; at <= start + whole; at += step) {
      const place = (at - start) / whole * width;
      const line = axis.appendChild(document.createElementNS("http://www.w3.org/2000/svg", "path"));
      line.setAttribute("d", `M${place} 0V${drawing.height.baseVal.value}`);
      const text = axis.appendChild(document.createElementNS("http://www.w3.org/2000/svg", "text"));
      text.setAttribute("x", place + 3); text.setAttribute("y", 13);
      const inSeconds = start + whole >= 1000, unit = inSeconds ? 1000 : 1;
      const digits = Math.max(0, Math.ceil(-Math.log10(step / unit) - 1e-9));
      text.textContent = inTime ? (at / unit).toFixed(digits) + (inSeconds ? " s" : " ms") : events[Math.round(at)] ?? "";
    }
  }
  // What stands on a bar stays in sight while a part of the bar does.
  function label() {
    const ends = {};
    for (const [text, bar, long] of words) {
      const left = bar.x.baseVal.value, row = bar.y.baseVal.value;
      const from = Math.max(5, Math.min(scroll.scrollLeft - left + 5, bar.width.baseVal.value - long - 5));
      text.setAttribute("x", from);
      // Words of faults may be longer than their bands: no two in a row cover each other.
      if (!bar.classList.contains("words")) continue;
      const covered = left + from < ends[row];
      text.style.visibility = covered ? "hidden" : "";
      if (!covered) ends[row] = left + from + long;
    }
  }
  function lay() {
    tip.hidden = true;
    drawing.setAttribute("width", width);
    for (const [element, [from, to]] of placed) {
      if (to === undefined) { element.setAttribute("transform", `translate(${x(from)},0)`); continue; }
      element.setAttribute("x", x(from)); element.setAttribute("width", Math.max(4, x(to) - x(from)));
    }
    for (const [line, places, circles] of orders) {
      const points = line.points;
      places.forEach((at, index) => { points[index].x = x(at); circles[index].setAttribute("cx", x(at)); });
    }
    ticks(); label();
  }
  function zoom(factor, about = room() / 2) {
    const at = (scroll.scrollLeft + about) / width;
    width = Math.max(Math.min(room(), length * 90), Math.min(width * factor, 200000));
    lay(); scroll.scrollLeft = at * width - about;
  }
  function centre(element) {
    const [from, to = from] = element.dataset.x.split(" ").map(Number), long = x(to) - x(from);
    scroll.scrollLeft = long > room() ? x(from) - 40 : (x(from) + x(to)) / 2 - room() / 2;
    const lane = element.parentNode.transform?.baseVal[0]?.matrix.f;
    if (lane < scroll.scrollTop || lane + 30 > scroll.scrollTop + scroll.clientHeight) scroll.scrollTop = lane - scroll.clientHeight / 2;
  }
  function select(index) {
    if (on >= 0) operations[on].classList.remove("on");
    on = Math.max(0, Math.min(index, operations.length - 1));
    const element = operations[on];
    element.classList.add("on"); centre(element);
    const box = element.getBoundingClientRect();
    show(element, Math.max(box.left, 60), box.bottom - 12); scroll.setAttribute("aria-label", element.getAttribute("aria-label"));
  }
  const doing = {
    in: () => zoom(1.5), out: () => zoom(1 / 1.5),
    all: () => { width = room(); lay(); },
    error: () => { if (bad) { const least = 100 / Math.max(1e-9, share(+bad.dataset.x.split(" ")[1]) - share(+bad.dataset.x.split(" ")[0])); if (width < least) { width = Math.min(least, 200000); lay(); } select(operations.indexOf(bad)); } },
    events: () => switchTo(false), time: () => switchTo(true),
  };
  function switchTo(wanted) {
    if (!times || inTime === wanted) return;
    inTime = wanted;
    for (const button of figure.querySelectorAll("[aria-pressed]")) button.setAttribute("aria-pressed", (button.dataset.do === "time") === inTime);
    lay();
    if (on >= 0) select(on); else if (bad) centre(bad);
  }
  const moving = { ArrowRight: () => select(on + 1), ArrowLeft: () => select(on < 0 ? 0 : on - 1), Home: () => select(0), End: () => select(operations.length - 1),
    Escape: () => { tip.hidden = true; } };
  const looking = small ? { e: doing.error } : { e: doing.error, "+": doing.in, "=": doing.in, "-": doing.out, 0: doing.all, t: () => switchTo(!inTime) };
  const obey = (event, keys) => {
    if (event.ctrlKey || event.metaKey || event.altKey || !keys[event.key]) return;
    event.preventDefault(); event.stopPropagation(); keys[event.key]();
  };
  scroll.addEventListener("keydown", event => obey(event, { ...moving, ...looking }));
  scroll.addEventListener("blur", () => { tip.hidden = true; });
  scroll.addEventListener("scroll", label);
  let before = width;
  addEventListener("beforeprint", () => { before = width; width = Math.min(length * 90, small ? 420 : 900); lay(); });
  addEventListener("afterprint", () => { width = before; lay(); if (bad) centre(bad); });
  if (small) {
    const fit = () => { width = Math.max(length * 36, Math.min(length * drawing.dataset.unit, room())); lay(); };
    addEventListener("resize", fit); fit();
    continue;
  }
  // Where nothing has the focus, keys that do not scroll the page are for the large picture.
  addEventListener("keydown", event => { if (document.activeElement === document.body) obey(event, looking); });
  figure.querySelector(".tools").hidden = false;
  figure.querySelector(".tools").addEventListener("click", event => { const name = event.target.dataset.do; if (name) doing[name](); });
  scroll.addEventListener("wheel", event => {
    if (event.shiftKey || Math.abs(event.deltaX) > Math.abs(event.deltaY)) return;
    event.preventDefault();
    zoom(Math.exp(-event.deltaY / 400), event.clientX - drawing.getBoundingClientRect().left - scroll.scrollLeft);
  }, { passive: false });
  scroll.classList.add("grab");
  scroll.addEventListener("pointerdown", event => {
    if (event.button || event.pointerType === "touch") return;
    const from = [event.clientX, event.clientY, scroll.scrollLeft, scroll.scrollTop];
    tip.hidden = true;
    const move = event => { scroll.classList.add("held"); scroll.scrollLeft = from[2] - event.clientX + from[0]; scroll.scrollTop = from[3] - event.clientY + from[1]; };
    const up = () => { scroll.classList.remove("held"); removeEventListener("pointermove", move); removeEventListener("pointerup", up); };
    addEventListener("pointermove", move); addEventListener("pointerup", up);
  });
  if (width < room()) width = Math.min(room(), length * 90);
  lay();
  const start = bad ?? drawing.querySelector(".until");
  if (start) centre(start);
}
