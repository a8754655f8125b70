// Sets the theme before the first paint, so that the other theme never flashes.
(() => {
  const THEMES = ['auto', 'light', 'dark'];
  const root = document.documentElement;

  function stored() {
    try {
      const theme = localStorage.getItem('uso.theme');
      return THEMES.includes(theme) ? theme : 'auto';
    } catch {
      return 'auto';
    }
  }

  function apply(theme) {
    if (theme === 'auto') delete root.dataset.theme;
    else root.dataset.theme = theme;
  }

  window.usoTheme = {
    get: stored,
    next() {
      const theme = THEMES[(THEMES.indexOf(stored()) + 1) % THEMES.length];
      try {
        localStorage.setItem('uso.theme', theme);
      } catch {
        // Without storage, the theme lasts until a reload.
      }
      apply(theme);
      return theme;
    },
  };
  apply(stored());
})();
