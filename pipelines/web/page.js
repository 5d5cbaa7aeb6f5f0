"use strict";

const $ = (id) => document.getElementById(id);
const state = { sentence: "", place: null, asked: 0, picture: null };

// Text is only ever set as text: names of files and captions are not trusted.
function make(tag, properties = {}, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
}

function counted(number, noun) {
  return `${number.toLocaleString("en")} ${noun}${number === 1 ? "" : "s"}`;
}

// What rounds to zero has no sign.
function decimals(value, digits) {
  return (Number(value.toFixed(digits)) + 0).toFixed(digits);
}

function say(text, wrong = false) {
  $("status").textContent = text;
  $("status").classList.toggle("wrong", wrong);
}

async function ask(url, options) {
  const response = await fetch(url, options);
  const content = await response.json();
  if (!response.ok) throw new Error([content.error, content.hint].filter(Boolean).join(" – "));
  return content;
}

async function search(working, request, { sentence = "", picture = null, name = "" }) {
  const number = ++state.asked;
  say(working);
  try {
    const found = await request();
    if (number !== state.asked) return; // a later search has overtaken this one
    state.sentence = sentence;
    $("sentence").value = sentence;
    show(found, { picture, name });
  } catch (error) {
    if (number === state.asked) say(error.message, true);
  }
}

function show(found, { picture, name }) {
  const captions = found.captions || [];
  $("asked").hidden = !picture;
  if (picture) {
    $("asked-picture").src = picture;
    $("asked-picture").alt = `Searched for: ${name}`;
    $("captions").replaceChildren(...captions.map((hit) => make("li", { textContent: hit.caption })));
    $("asked").lastElementChild.hidden = !captions.length;
  }
  $("results").replaceChildren(...found.results.map((hit, rank) => {
    const image = make("img", {
      src: `thumbnail/${hit.place}.jpg`, alt: `Result ${rank + 1}: ${hit.image}`, loading: "lazy",
    });
    const score = decimals(hit.score, 3);
    const label = make("span", {},
      make("span", { className: "id", textContent: hit.image }),
      make("span", { textContent: score }));
    // A long name is cut on the card: the whole one stands in its title.
    const card = make("button", { className: "card", type: "button", title: hit.image }, image, label);
    card.setAttribute("aria-label", `Result ${rank + 1}: ${hit.image}, score ${score}`);
    card.addEventListener("click", () => open(hit));
    return make("li", {}, card);
  }));
  $("score").hidden = !found.results.length;
  const unknown = (found.unknown || []).length ? ` Words the run does not know: ${found.unknown.join(", ")}.` : "";
  say(`${counted(found.results.length, "result")}.${unknown}`);
}

function searchText(sentence) {
  history.replaceState(null, "", `#${encodeURIComponent(sentence)}`);
  search("Searching…", () => ask(`api/search?q=${encodeURIComponent(sentence)}`), { sentence });
}

function searchPicture(file) {
  if (!file) return;
  if (!file.type.startsWith("image/")) { say("That is no picture.", true); return; }
  history.replaceState(null, "", " ");
  if (state.picture) URL.revokeObjectURL(state.picture);
  state.picture = URL.createObjectURL(file);
  search("Reading the picture…",
    () => ask("api/picture", { method: "POST", headers: { "Content-Type": file.type }, body: file }),
    { picture: state.picture, name: file.name });
}

async function open(hit) {
  state.place = hit.place;
  $("name").textContent = hit.image;
  $("large").src = `picture/${hit.place}.jpg`;
  $("large").alt = hit.image;
  $("boxes").replaceChildren();
  $("regions").replaceChildren();
  $("legend").textContent = "Reading the regions…";
  $("details").showModal();
  try {
    const seen = await ask(`api/image/${hit.place}?q=${encodeURIComponent(state.sentence)}`);
    if (state.place === hit.place) regions(seen);
  } catch (error) {
    $("legend").textContent = error.message;
  }
}

function regions(seen) {
  const fits = seen.regions.some((region) => region.fit !== null);
  $("legend").textContent = "Attention: what a region counts in the image, of 100 %."
    + (fits ? ` Fit: cosine of the region and “${state.sentence}”.` : "");
  const ordered = [...seen.regions].sort((a, b) => fits ? b.fit - a.fit : b.weight - a.weight);
  const most = Math.max(...seen.regions.map((region) => region.weight));
  for (const region of ordered) {
    const [left, top, right, bottom] = region.box;
    const box = make("div", { hidden: true });
    Object.assign(box.style, {
      left: `${left * 100}%`, top: `${top * 100}%`,
      width: `${(right - left) * 100}%`, height: `${(bottom - top) * 100}%`,
    });
    $("boxes").append(box);
    const name = [...region.words, region.name].join(" ");
    const button = make("button", { type: "button", textContent: name });
    const cell = make("td", {}, button);
    if (region.class) cell.append(make("small", { textContent: region.class }));
    const meter = make("meter", { min: 0, max: most, value: region.weight });
    meter.setAttribute("aria-hidden", "true");
    const row = make("tr", {}, cell,
      make("td", { className: "number" }, meter, `${(region.weight * 100).toFixed(1)} %`),
      make("td", { className: "number", textContent: region.fit === null ? "–" : decimals(region.fit, 2) }));
    const mark = () => {
      for (const other of $("boxes").children) { other.hidden = true; other.classList.remove("on"); }
      for (const other of $("regions").children) other.classList.remove("on");
      box.hidden = false;
      box.classList.add("on");
      row.classList.add("on");
    };
    button.addEventListener("focus", mark);
    row.addEventListener("mouseenter", mark);
    row.addEventListener("click", mark);
    $("regions").append(row);
  }
  // What fits best is seen at once.
  for (const box of [...$("boxes").children].slice(0, 3)) box.hidden = false;
}

$("form").addEventListener("submit", (event) => {
  event.preventDefault();
  const sentence = $("sentence").value.trim();
  if (sentence) searchText(sentence);
  else say("Write a sentence first.", true);
});
$("choose").addEventListener("click", () => $("file").click());
$("file").addEventListener("change", () => { searchPicture($("file").files[0]); $("file").value = ""; });
$("close").addEventListener("click", () => $("details").close());
$("like").addEventListener("click", () => {
  const { place } = state, name = $("name").textContent;
  $("details").close();
  search("Searching…", () => ask(`api/like/${place}`), { picture: `thumbnail/${place}.jpg`, name });
});
addEventListener("dragover", (event) => { event.preventDefault(); $("drop").hidden = false; });
addEventListener("dragleave", (event) => { if (!event.relatedTarget) $("drop").hidden = true; });
addEventListener("drop", (event) => {
  event.preventDefault();
  $("drop").hidden = true;
  searchPicture(event.dataTransfer.files[0]);
});
addEventListener("paste", (event) => {
  if (event.clipboardData.files.length) searchPicture(event.clipboardData.files[0]);
});

ask("api/about").then((about) => {
  $("about").textContent = `${about.run}, ${counted(about.images, "image")}`;
  if (about.example) $("sentence").placeholder = about.example;
  const sentence = decodeURIComponent(location.hash.slice(1));
  if (sentence) { $("sentence").value = sentence; searchText(sentence); }
}).catch((error) => say(error.message, true));
