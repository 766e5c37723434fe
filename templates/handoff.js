
// Only a convenience: without it, a click selects a whole value.
for (const code of document.querySelectorAll("pre, code.value")) {
  const button = document.createElement("button");
  button.type = "button";
  button.textContent = "Copy";
  button.setAttribute("aria-label", "Copy " + code.textContent.trim().slice(0, 60));
  button.addEventListener("click", async () => {
    let done = true;
    try {
      await navigator.clipboard.writeText(code.textContent.trim());
    } catch {
      getSelection().selectAllChildren(code);
      done = document.execCommand("copy");
    }
    button.textContent = done ? "Copied" : "Press Ctrl+C";
    setTimeout(() => { button.textContent = "Copy"; }, 2000);
  });
  if (code.localName === "pre") {
    const box = document.createElement("div");
    box.className = "copy";
    code.replaceWith(box);
    box.append(code, button);
  } else {
    code.after(button);
  }
}
