"use strict";
const form = document.getElementById("filter");
const claims = [...document.querySelectorAll("details.claim")];

function filter() {
  const { kind, source, pairs, init } = form.elements;
  let shown = 0;
  for (const claim of claims) {
    const asked = claim.dataset;
    claim.hidden = (kind.value && asked.kind !== kind.value)
      || (source.value && !asked.sources.split(" ").includes(source.value))
      || (pairs.checked && asked.pairs !== "yes")
      || (init.checked && asked.init !== "yes");
    shown += !claim.hidden;
  }
  document.getElementById("shown").value = shown + " of " + claims.length + " shown";
}

// A link to a statement unfolds it, and shows it if the filter hides it.
function unfold() {
  const target = document.getElementById(location.hash.slice(1));
  if (!claims.includes(target)) return;
  if (target.hidden) {
    form.reset();
    filter();
  }
  target.open = true;
  target.scrollIntoView();
}

form.hidden = false;
form.addEventListener("input", filter);
form.addEventListener("submit", (event) => event.preventDefault());
document.getElementById("unfold").addEventListener("click", (event) => {
  const open = event.target.textContent === "Unfold all";
  for (const claim of claims) claim.open = open;
  event.target.textContent = open ? "Fold all" : "Unfold all";
});
addEventListener("hashchange", unfold);
addEventListener("beforeprint", () => claims.forEach((claim) => { claim.open = true; }));
filter();
unfold();
