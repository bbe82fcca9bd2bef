// Where a key is typed. It travels to the kernel once, as a message, and is kept in no trait: traits
// are saved with the notebook.

function element(tag, properties) {
  return Object.assign(document.createElement(tag), properties);
}

function render({ model, el }) {
  const box = element("div", { className: "tp-typed-key" });
  const label = element("label", { textContent: "Key" });
  const input = element("input", {
    type: "password",
    autocomplete: "off",
    spellcheck: false,
    disabled: true, // until the kernel has answered: nobody else can keep a key
    placeholder: "type or paste it, Enter",
    title: "Sent to the kernel and kept in its memory only",
  });
  const forget = element("button", {
    type: "button", textContent: "forget", title: "Forget the key", hidden: true,
  });
  const said = element("span");
  said.setAttribute("role", "status");
  label.append(input);
  box.append(label, forget, said);
  el.append(box);

  function send() {
    const text = input.value;
    input.value = "";
    if (text) model.send({ type: "key", text });
  }
  function told(message) {
    input.disabled = false;
    forget.hidden = !message.set;
    said.textContent = message.text;
    said.classList.toggle("tp-bad", message.bad);
  }
  input.addEventListener("keydown", (event) => {
    event.stopPropagation(); // it is no shortcut of the notebook's
    if (event.key === "Enter") send();
  });
  input.addEventListener("blur", send);
  forget.addEventListener("click", () => {
    model.send({ type: "forget" });
    input.focus();
  });
  model.on("msg:custom", told);
  model.send({ type: "ready" });
  return () => model.off("msg:custom", told);
}

export default { render };
