// Light, dark or the system's: chosen by the button, remembered, set before the first paint.
"use strict";

(() => {
  const KEY = "candlewick.theme";
  const CHOICES = ["system", "light", "dark"];

  function remembered() {
    try {
      const value = localStorage.getItem(KEY);
      return CHOICES.includes(value) ? value : "system";
    } catch (error) {
      // A browser may forbid storage; then the choice holds for this page.
      return document.documentElement.dataset.theme ?? "system";
    }
  }

  function apply(choice) {
    document.documentElement.dataset.theme = choice;
    const button = document.getElementById("theme");
    if (button) {
      button.textContent = `Theme: ${choice}`;
      button.hidden = false;
    }
    dispatchEvent(new Event("themechange"));
  }

  function advance() {
    const choice = CHOICES[(CHOICES.indexOf(remembered()) + 1) % CHOICES.length];
    try {
      localStorage.setItem(KEY, choice);
    } catch (error) {
      console.info("the theme cannot be remembered here:", error.name);
    }
    apply(choice);
  }

  apply(remembered());
  addEventListener("DOMContentLoaded", () => {
    apply(remembered());
    document.getElementById("theme").addEventListener("click", advance);
  });
  // Chosen in another tab.
  addEventListener("storage", (event) => event.key === KEY && apply(remembered()));
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () =>
    dispatchEvent(new Event("themechange")),
  );
})();
