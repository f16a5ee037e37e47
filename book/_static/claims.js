// The filters of the claims page: source, verdict and chapter, as native selects, kept in the address. Without this
// script the whole table stands.
(() => {
  const tables = [...document.querySelectorAll("table.claims")];
  if (!tables.length) return;
  const rows = tables.flatMap(table => [...table.querySelectorAll("tbody tr")]);
  for (const row of rows) row.dataset.source = row.closest("table").dataset.source;

  const names = ["source", "verdict", "chapter"];
  const title = {
    source: key => document.querySelector(`table[data-source="${key}"]`).closest("section")
      .querySelector("h2").firstChild.textContent.trim(),
    verdict: key => key,
    chapter: key => document.getElementById(`chapter-${key}`).closest("details")
      .querySelector("summary").textContent.split(":")[0],
  };

  const form = document.createElement("form");
  form.className = "claims-filter";
  form.setAttribute("aria-label", "Filter the claims");
  const selects = Object.fromEntries(names.map(name => {
    const label = form.appendChild(document.createElement("label"));
    label.append(name);
    const select = label.appendChild(document.createElement("select"));
    select.name = name;
    select.add(new Option("all", ""));
    const keys = [...new Set(rows.map(row => row.dataset[name]))];
    if (name === "chapter") keys.sort();
    for (const key of keys) {
      const count = rows.filter(row => row.dataset[name] === key).length;
      select.add(new Option(`${title[name](key)} (${count})`, key));
    }
    return [name, select];
  }));
  const reset = form.appendChild(document.createElement("button"));
  reset.type = "button";
  reset.textContent = "Show all";
  const told = form.appendChild(document.createElement("output"));

  // What the selects say, shown.
  function apply() {
    const wanted = names.filter(name => selects[name].value);
    for (const row of rows) row.hidden = wanted.some(name => row.dataset[name] !== selects[name].value);
    for (const table of tables) {
      table.closest("section").hidden = !table.querySelector("tbody tr:not([hidden])");
    }
    const shown = rows.filter(row => !row.hidden).length;
    told.textContent = shown === rows.length ? `all ${shown} claims` : `${shown} of ${rows.length} claims`;
    reset.disabled = !wanted.length;
  }

  // The address: #chapter-12 for a chapter alone, as chapters link here, else #source=phase&verdict=open.
  function toAddress() {
    const given = names.filter(name => selects[name].value).map(name => [name, selects[name].value]);
    const alone = given.length === 1 && given[0][0] === "chapter";
    const hash = alone ? `chapter-${given[0][1]}` : new URLSearchParams(given).toString();
    history.replaceState(null, "", hash ? `#${hash}` : location.pathname + location.search);
  }

  function fromAddress() {
    const hash = decodeURIComponent(location.hash.slice(1));
    const chapter = /^chapter-(\d\d)$/.exec(hash)?.[1];
    const given = chapter ? new URLSearchParams({chapter}) : new URLSearchParams(hash);
    const known = names.some(name => given.has(name));
    const target = document.getElementById(hash);
    if (hash && !known && !target?.closest("table.claims, section[hidden]")) return; // a heading: leave the filters
    for (const name of names) selects[name].value = known ? given.get(name) ?? "" : "";
    for (const name of names) if (selects[name].selectedIndex < 0) selects[name].value = "";
    apply();
    if (known) form.scrollIntoView();
    else target?.scrollIntoView();
  }

  form.addEventListener("change", () => { apply(); toAddress(); });
  reset.addEventListener("click", () => { for (const name of names) selects[name].value = ""; apply(); toAddress(); });
  form.addEventListener("submit", event => event.preventDefault());
  tables[0].closest("section").before(form);
  apply();
  fromAddress();
  window.addEventListener("hashchange", fromAddress);
})();
