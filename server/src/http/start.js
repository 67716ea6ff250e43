// Starts the client. A file of its own, so that the page needs no inline script.
try {
  const { default: init } = await import("./CLIENT.js");
  await init({ module_or_path: new URL("./CLIENT.wasm", import.meta.url) });
} catch (error) {
  console.error(error);
  const boot = document.querySelector(".boot");
  if (boot) {
    boot.setAttribute("role", "alert");
    boot.textContent = "This page could not be started. Please reload it.";
  }
}
