"use strict";
// The map of one slide: draws patches over the thumbnail, and shows a chosen one's neighbors.
const data = JSON.parse(document.getElementById("data").textContent);
const bytes = (text) => Uint8Array.from(atob(text), (each) => each.charCodeAt(0)).buffer;
const at = (id) => document.getElementById(id);
const count = data.count;
const x = new Int32Array(bytes(data.x)), y = new Int32Array(bytes(data.y));
const cluster = new Uint8Array(bytes(data.cluster)), rgb = new Uint8Array(bytes(data.rgb));
const components = new Float32Array(bytes(data.components));
const probabilities = new Uint8Array(bytes(data.probabilities));
const neighbors = new Uint32Array(bytes(data.neighbors));
const cosines = new Uint16Array(bytes(data.cosines));
const others = {
  slide: new Uint16Array(bytes(data.others.slide)),
  x: new Int32Array(bytes(data.others.x)),
  y: new Int32Array(bytes(data.others.y)),
  picture: new Uint32Array(bytes(data.others.picture)),
};
// Viridis at five places: told apart by color-blind eyes, and brighter where it is more.
const RAMP = [[68, 1, 84], [59, 82, 139], [33, 145, 140], [94, 201, 98], [253, 231, 37]];
const MOST = 4e7; // px of the map, however far it is zoomed: browsers draw none that are larger
let chosen = -1, scale = 1;
const thumbnail = new Image();

function ramp(share) {
  const place = share * (RAMP.length - 1), low = Math.min(Math.floor(place), RAMP.length - 2);
  const mixed = RAMP[low].map((each, i) => each + (RAMP[low + 1][i] - each) * (place - low));
  return `rgb(${mixed.map(Math.round).join(",")})`;
}

const mode = () => document.querySelector("input[name=by]:checked").value;

function colorOf(row) {
  switch (mode()) {
    case "cluster": return data.colors[cluster[row]];
    case "rgb": return `rgb(${rgb[3 * row]},${rgb[3 * row + 1]},${rgb[3 * row + 2]})`;
    default: return ramp(probabilities[row * data.classes.length + Number(at("class").value)] / 255);
  }
}

function draw() {
  const canvas = at("map"), [wide, tall] = data.size;
  const across = Math.max(200, at("frame").clientWidth) / wide;
  const down = Math.max(200, 0.83 * innerHeight) / tall;
  const zoomed = Math.min(across, down) * Number(at("zoom").value);
  scale = Math.min(zoomed, Math.sqrt(MOST / (wide * tall)));
  canvas.width = Math.max(1, Math.round(wide * scale));
  canvas.height = Math.max(1, Math.round(tall * scale));
  const pen = canvas.getContext("2d");
  pen.fillStyle = "#fff";
  pen.fillRect(0, 0, canvas.width, canvas.height);
  if (data.thumbnail) pen.drawImage(thumbnail, 0, 0, canvas.width, canvas.height);
  if (mode() !== "none") {
    pen.globalAlpha = Number(at("opacity").value) / 100;
    for (let row = 0; row < count; row++) {
      // Edges of neighbors on one pixel: neither seams nor double paint.
      const left = Math.round(x[row] * scale), top = Math.round(y[row] * scale);
      const right = Math.round((x[row] + data.side) * scale);
      const bottom = Math.round((y[row] + data.side) * scale);
      pen.fillStyle = colorOf(row);
      pen.fillRect(left, top, Math.max(1, right - left), Math.max(1, bottom - top));
    }
    pen.globalAlpha = 1;
  }
  if (chosen >= 0) {
    const side = Math.max(data.side * scale, 5);
    for (const [color, width] of [["#fff", 5], ["#000", 2]]) {
      pen.strokeStyle = color;
      pen.lineWidth = width;
      pen.strokeRect(x[chosen] * scale, y[chosen] * scale, side, side);
    }
  }
  for (const name of ["cluster", "rgb", "probe"]) {
    at(`legend-${name}`).hidden = name !== mode();
  }
}

function tag(name, text) {
  const made = document.createElement(name);
  if (text !== undefined) made.textContent = text;
  return made;
}

function picture(other, alt) {
  if (others.picture[other] === data.none) {
    const blank = tag("span", "no picture");
    blank.className = "blank";
    return blank;
  }
  const image = tag("img");
  image.src = `data:image/jpeg;base64,${data.pictures[others.picture[other]]}`;
  image.alt = alt;
  return image;
}

// A link to the patch on its own slide's page, around its picture.
function linked(other) {
  const link = tag("a"), slide = others.slide[other], name = data.slides[slide];
  const place = `${others.x[other]}, ${others.y[other]}`;
  link.href = `${data.pages[slide]}#${others.x[other]}_${others.y[other]}`;
  link.title = `${name} at ${place}`;
  link.append(picture(other, `Patch of ${name} at ${place}`));
  return link;
}

function choose(row) {
  chosen = row;
  draw();
  const list = at("nearest"), table = at("measured");
  at("chosen").hidden = row < 0;
  if (row < 0) return;
  list.replaceChildren();
  for (let rank = 0; rank < data.near; rank++) {
    const other = neighbors[row * data.near + rank];
    if (other === data.none) continue;
    const item = tag("li"), link = linked(other);
    const cosine = cosines[row * data.near + rank] / 65535 * 2 - 1;
    item.append(link, tag("div", data.slides[others.slide[other]]));
    item.append(tag("div", `cosine ${cosine.toFixed(3)}`));
    list.append(item);
  }
  const lines = [["level-0 px", `${x[row]}, ${y[row]}`], ["cluster", cluster[row] + 1]];
  for (let n = 0; n < 3; n++) {
    lines.push([`component ${n + 1}`, components[3 * row + n].toFixed(3)]);
  }
  data.classes.forEach((name, n) => {
    const share = probabilities[row * data.classes.length + n] / 255;
    lines.push([name, share.toFixed(2)]);
  });
  table.replaceChildren(...lines.map(([name, value]) => {
    const line = tag("tr"), head = tag("th", name);
    head.scope = "row";
    line.append(head, tag("td", String(value)));
    return line;
  }));
  closeUp(row);
}

// The patch and one more on each side of it, out of the thumbnail.
function closeUp(row) {
  const canvas = at("close"), pen = canvas.getContext("2d");
  canvas.hidden = !data.thumbnail;
  if (!data.thumbnail) return;
  const across = thumbnail.naturalWidth / data.size[0], down = thumbnail.naturalHeight / data.size[1];
  const side = data.side, part = canvas.width / 3;
  pen.fillStyle = "#fff";
  pen.fillRect(0, 0, canvas.width, canvas.height);
  pen.drawImage(thumbnail, (x[row] - side) * across, (y[row] - side) * down,
    3 * side * across, 3 * side * down, 0, 0, canvas.width, canvas.height);
  pen.strokeRect(part, part, part, part);
}

// The patch that holds a place; of several the one whose middle is nearest; -1: none.
function patchAt(left, top) {
  let best = -1, least = Infinity;
  for (let row = 0; row < count; row++) {
    const dx = left - x[row], dy = top - y[row];
    if (dx < 0 || dy < 0 || dx >= data.side || dy >= data.side) continue;
    const far = Math.hypot(dx - data.side / 2, dy - data.side / 2);
    if (far < least) [best, least] = [row, far];
  }
  return best;
}

// The nearest patch in a direction: ahead counts once, aside twice.
function next(row, right, down) {
  let best = row, least = Infinity;
  for (let other = 0; other < count; other++) {
    const dx = x[other] - x[row], dy = y[other] - y[row];
    const ahead = dx * right + dy * down, aside = Math.abs(dx * down) + Math.abs(dy * right);
    if (ahead > 0 && ahead >= aside && ahead + 2 * aside < least) {
      [best, least] = [other, ahead + 2 * aside];
    }
  }
  return best;
}

// The nearest patch to the place in the address: neighbors' links of other pages give it.
function fromAddress() {
  const found = /^#(-?\d+)_(-?\d+)$/.exec(location.hash);
  if (!found) return;
  let best = -1, least = Infinity;
  for (let row = 0; row < count; row++) {
    const far = Math.hypot(x[row] - Number(found[1]), y[row] - Number(found[2]));
    if (far < least) [best, least] = [row, far];
  }
  choose(best);
}

function clusterLegend() {
  const sizes = new Array(data.colors.length).fill(0);
  cluster.forEach((each) => { sizes[each] += 1; });
  data.colors.forEach((color, number) => {
    const line = tag("div"), swatch = tag("span"), list = tag("ul");
    swatch.className = "swatch";
    swatch.style.background = color;
    list.className = "patches small";
    const share = (100 * sizes[number] / count).toFixed(1);
    line.append(swatch, `${number + 1}: ${share} % of the patches drawn`, list);
    for (const other of data.typical[number]) {
      if (other === data.none || others.picture[other] === data.none) continue;
      const item = tag("li");
      item.append(linked(other));
      list.append(item);
    }
    at("clusters").append(line);
  });
}

function start() {
  clusterLegend();
  at("ramp").style.background = `linear-gradient(to right, ${[0, 1, 2, 3, 4].map((n) => ramp(n / 4))})`;
  at("controls").addEventListener("input", (event) => {
    if (event.target.id === "class") document.querySelector("input[value=probe]").checked = true;
    draw();
  });
  at("map").addEventListener("click", (event) => {
    choose(patchAt((event.offsetX + 0.5) / scale, (event.offsetY + 0.5) / scale));
  });
  const keys = { ArrowRight: [1, 0], ArrowLeft: [-1, 0], ArrowDown: [0, 1], ArrowUp: [0, -1] };
  at("map").addEventListener("keydown", (event) => {
    if (!(event.key in keys)) return;
    event.preventDefault();
    choose(chosen < 0 ? 0 : next(chosen, ...keys[event.key]));
  });
  addEventListener("hashchange", fromAddress);
  addEventListener("resize", draw);
  draw();
  fromAddress();
}

if (count && data.thumbnail) {
  thumbnail.onload = start;
  thumbnail.src = data.thumbnail;
} else if (count) {
  start();
}
