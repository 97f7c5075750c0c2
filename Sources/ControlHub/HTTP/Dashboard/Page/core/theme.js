// Light, dark or as the system has it. Not a module, so that it is done before the first paint.
(() => {
  const stored = () => { try { return localStorage.getItem('theme'); } catch { return null; } };
  const apply = (theme) => {
    if (theme === 'light' || theme === 'dark') document.documentElement.dataset.theme = theme;
    else delete document.documentElement.dataset.theme;
  };
  apply(stored());
  window.hubTheme = {
    get current() { return document.documentElement.dataset.theme ?? 'system'; },
    set(theme) {
      apply(theme);
      try { localStorage.setItem('theme', theme); } catch { /* Without storage the choice lasts until the page is left. */ }
    },
  };
})();
