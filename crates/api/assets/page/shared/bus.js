// By which one view asks another for something, without the two knowing each other:
// "reuse" { spec }, "reference" { role, reference, slot },
// "take" { id, slot }, "open" { id, list }, "watch" { id }, "compare" { pair }.

const target = new EventTarget();

export function ask(what, detail) {
  target.dispatchEvent(new CustomEvent(what, { detail }));
}

export function answer(what, action) {
  target.addEventListener(what, ({ detail }) => action(detail));
}
