// The theme's script wraps tables, and adds buttons to code, after the page has loaded. This makes what scrolls
// reachable by keyboard, and keeps those buttons from being landmarks without a name.
function amend() {
  for (const scrolling of document.querySelectorAll(".md-typeset__scrollwrap, .md-typeset pre > code")) {
    scrolling.tabIndex = scrolling.scrollWidth > scrolling.clientWidth ? 0 : -1;
  }
  for (const buttons of document.querySelectorAll(".md-code__nav")) buttons.role = "presentation";
}

new MutationObserver(amend).observe(document.body, { childList: true, subtree: true });
addEventListener("resize", amend);
