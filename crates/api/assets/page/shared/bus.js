// The event bus: views send each other messages without importing each other.
//
// "edit" { spec }: fill the form with the parameters of a job.
// "reference" { role, reference, slot }: add a picture to the form as a reference.
// "use-as-reference" { id, slot }: use the result of a job as a reference.
// "open" { id, list }: open a job in the viewer; the arrow keys go through `list`.
// "watch" { id }: follow the events of the job in the viewer; null for none.

const target = new EventTarget();

export function emit(name, detail) {
  target.dispatchEvent(new CustomEvent(name, { detail }));
}

export function on(name, handler) {
  target.addEventListener(name, ({ detail }) => handler(detail));
}
