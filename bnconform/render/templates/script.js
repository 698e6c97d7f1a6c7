"use strict";
(() => {
  const matrix = document.getElementById("cells");
  const form = document.getElementById("filters");

  // A link into what is folded opens it, and all around it.
  const reveal = () => {
    const target = location.hash && document.getElementById(decodeURIComponent(location.hash.slice(1)));
    if (!target) return;
    for (let one = target; one; one = one.parentElement) if (one.tagName === "DETAILS") one.open = true;
    target.scrollIntoView();
  };
  window.addEventListener("hashchange", reveal);
  reveal();

  // What is folded is printed, too.
  let folded = [];
  window.addEventListener("beforeprint", () => {
    folded = [...document.querySelectorAll("details:not([open])")];
    folded.forEach((one) => { one.open = true; });
  });
  window.addEventListener("afterprint", () => { folded.forEach((one) => { one.open = false; }); });

  if (!form || !matrix) return;
  form.hidden = false;
  const groups = [...matrix.tHead.rows[0].cells].slice(1);
  const columns = [...matrix.tHead.rows[1].cells].map((cell) => (
    { cell, group: groups[Number(cell.dataset.group)], dtype: cell.dataset.dtype }));
  const rows = [...matrix.querySelectorAll("tbody tr")];
  const rules = [...document.querySelectorAll("details.rule")];
  const findings = [...document.querySelectorAll("[data-finding]")];
  const told = document.getElementById("told");
  const named = (name) => form.elements.namedItem(name);
  const field = (name) => (named(name) ? named(name).value : "");
  const NAMES = ["backend", "dtype", "level", "verdict", "text"];
  const failing = new Set(["crashed", "violates", "untrusted"]);

  const fits = (verdict, wanted) => !wanted || verdict === wanted
    || (wanted === "fails" && failing.has(verdict)) || (wanted === "not" && verdict !== "conforms" && verdict !== "");

  const apply = () => {
    const backend = field("backend"), dtype = field("dtype"), level = field("level"), verdict = field("verdict");
    const words = field("text").trim().toLowerCase().split(/\s+/).filter(Boolean);
    const shown = columns.map((column) => (
      (!backend || column.group.dataset.backend === backend) && (!dtype || column.dtype === dtype)));
    columns.forEach((column, number) => { column.cell.hidden = !shown[number]; });
    groups.forEach((group) => {
      const many = columns.filter((column, number) => column.group === group && shown[number]).length;
      group.hidden = many === 0;
      group.colSpan = Math.max(many, 1);
      group.classList.toggle("upright", many < 3);
    });
    const kept = new Set();
    let chapter = null, used = false;
    const close = () => { if (chapter) chapter.hidden = !used; };
    for (const row of rows) {
      if (row.classList.contains("chapter")) { close(); chapter = row; used = false; continue; }
      const cells = [...row.cells].slice(1);
      cells.forEach((cell, number) => { cell.hidden = !shown[number]; });
      const keep = (!level || row.dataset.level === level)
        && words.every((word) => row.dataset.text.includes(word))
        && cells.some((cell, number) => shown[number] && fits(cell.dataset.v || "", verdict) && cell.dataset.v);
      row.hidden = !keep;
      if (keep) { kept.add(row.dataset.rule); used = true; }
    }
    close();
    rules.forEach((rule) => {
      rule.hidden = !kept.has(rule.dataset.rule);
    });
    findings.forEach((one) => {
      one.hidden = Boolean((backend && one.dataset.backend !== backend)
        || (dtype && !one.dataset.dtypes.split(" ").includes(dtype)) || !fits(one.dataset.finding, verdict));
    });
    const all = rows.filter((row) => !row.classList.contains("chapter")).length;
    document.querySelectorAll("details.chapter").forEach((one) => {
      one.hidden = ![...one.querySelectorAll("details.rule")].some((rule) => !rule.hidden);
    });
    told.textContent = kept.size === all ? "" : `${kept.size} of ${all} requirements`;
  };
  // The filters stand in the address, after #, so that a link shows what its sender saw.
  const toAddress = () => {
    const words = new URLSearchParams(NAMES.map((name) => [name, field(name)]).filter(([, value]) => value));
    if (String(words)) history.replaceState(null, "", `#${words}`);
    else if (location.hash.includes("=")) history.replaceState(null, "", "#matrix");
  };
  const fromAddress = () => {
    if (!location.hash.includes("=")) return;
    const words = new URLSearchParams(location.hash.slice(1));
    NAMES.forEach((name) => { if (named(name)) named(name).value = words.get(name) || ""; });
    apply();
    document.getElementById("matrix").scrollIntoView();
  };
  form.addEventListener("input", () => { apply(); toAddress(); });
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("reset", () => setTimeout(() => { apply(); toAddress(); }));
  window.addEventListener("hashchange", fromAddress);
  apply();
  fromAddress();
})();
