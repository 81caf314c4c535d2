// What tests ask of a page. Each function returns plain data.

// The tables: their captions, and per row the text of each cell by its column, with what is drawn in it.
const tables = () =>
  [...document.querySelectorAll("table")].map((table) => {
    const columns = [...table.querySelectorAll("thead th")].map((cell) => cell.textContent.trim());
    const rows = [...table.querySelectorAll("tbody tr")].map((row) =>
      Object.fromEntries(
        [...row.children].map((cell, place) => [columns[place], cell.querySelector("svg.strip") ? drawn(cell) : textOf(cell)]),
      ),
    );
    return { caption: table.caption.textContent.trim(), rows };
  });

const textOf = (cell) => {
  const details = cell.querySelector("details");
  return (details ? [...details.childNodes].slice(1).map((node) => node.textContent).join("") : cell.textContent).trim();
};

// The numbers that the marks of a strip stand for, read off by its ticks as a person would.
const drawn = (cell) => {
  const ticks = [...cell.querySelectorAll("svg.ticks text")].map((text) => [parseFloat(text.getAttribute("x")), Number(text.textContent)]);
  const [[x0, low], [x1, high]] = [ticks[0], ticks[ticks.length - 1]];
  const at = (mark, name) => (mark ? low + ((parseFloat(mark.getAttribute(name)) - x0) / (x1 - x0)) * (high - low) : null);
  const find = (selector) => cell.querySelector(selector);
  return {
    label: find("svg.strip").getAttribute("aria-label"),
    value: at(find(".value"), "cx"),
    before: at(find(".before"), "cx"),
    low: at(find(".interval"), "x1"),
    high: at(find(".interval"), "x2"),
    reference: at(find(".reference"), "x1"),
    counts: [...cell.querySelectorAll(".count")].map((bar) => parseFloat(bar.getAttribute("height"))),
  };
};

// Texts and marks with less contrast to their background than `least`, as [text or class, ratio].
const faint = () => {
  const canvas = Object.assign(document.createElement("canvas"), { width: 1, height: 1 }).getContext("2d");
  const rgb = (color) => {
    canvas.clearRect(0, 0, 1, 1);
    canvas.fillStyle = color;
    canvas.fillRect(0, 0, 1, 1);
    return [...canvas.getImageData(0, 0, 1, 1).data];
  };
  const luminance = (channels) => {
    const [r, g, b] = channels.map((c) => c / 255).map((c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const ground = (element) => {
    for (let each = element; each; each = each.parentElement) {
      const color = rgb(getComputedStyle(each).backgroundColor);
      if (color[3]) return color;
    }
    return [255, 255, 255];
  };
  const ratio = (color, element) => {
    const [a, b] = [luminance(rgb(color).slice(0, 3)), luminance(ground(element).slice(0, 3))];
    return (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
  };
  const found = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement;
    if (!walker.currentNode.textContent.trim() || ["STYLE", "SCRIPT"].includes(element.tagName)) continue;
    const style = getComputedStyle(element);
    const contrast = ratio(element instanceof SVGElement ? style.fill : style.color, element);
    if (contrast < 4.5) found.push([walker.currentNode.textContent.trim(), contrast]);
  }
  for (const mark of document.querySelectorAll("svg .value, svg .interval, svg .bar, svg .count, svg .reference, svg .before")) {
    const style = getComputedStyle(mark);
    const contrast = ratio(mark.matches(".value, .bar, .count") ? style.fill : style.stroke, mark);
    if (contrast < 3) found.push([mark.getAttribute("class"), contrast]);
  }
  return found;
};

// What only a page that is not ours, or not escaped, would have.
const foreign = () => [
  ...document.querySelectorAll("script, iframe, img, object, embed, link, base, form"),
  ...[...document.querySelectorAll("*")].filter((each) => each.getAttributeNames().some((name) => /^on|^style$/.test(name))),
  ...[...document.links].filter((link) => !/^https?:$/.test(link.protocol)),
].map((element) => element.outerHTML);

// Elements that begin or end beyond the page's edges.
const beyond = () =>
  [...document.querySelectorAll("td, th, p, h1, h2, li, svg.strip")]
    .filter((element) => element.checkVisibility() && element.closest("thead") === null)
    .map((element) => [element.outerHTML.slice(0, 200), element.getBoundingClientRect()])
    .filter(([, box]) => box.left < 0 || box.right > document.documentElement.clientWidth + 1);
