// Typesets the mathematics of a page with the KaTeX beside this file.
// Both renderers write <span class="math inline">\(…\)</span> and <span class="math display">\[…\]</span>.
const TAG = /\\tag\{([\d.]+)\}/;

function typeset(element) {
  const tex = element.textContent.trim().replace(/^\\[([]/, "").replace(/\\[)\]]$/, "");
  const displayMode = element.classList.contains("display");
  try {
    katex.render(tex.replace(TAG, ""), element, { displayMode });
  } catch (error) {
    element.classList.add("katex-error"); // the formula stays as it was written
    console.error(error.message);
  }
  const tag = tex.match(TAG);
  if (!tag) return;
  // The number stands beside the formula, so that it stays in sight where a wide formula scrolls.
  const number = document.createElement("span");
  number.className = "equation-number";
  number.textContent = `(${tag[1]})`;
  element.append(number);
}

document.addEventListener("DOMContentLoaded", () => {
  for (const element of document.querySelectorAll(".math")) {
    if (!element.querySelector(".katex")) typeset(element);
  }
  // The formulas above a target have changed the page's height since the browser went there.
  const target = location.hash && document.getElementById(decodeURIComponent(location.hash.slice(1)));
  if (target) target.scrollIntoView();
});
