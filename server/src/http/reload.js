// Listens to cargo-leptos: a new style is put in place, anything else reloads the page.
function listen() {
  const socket = new WebSocket(`ws://${location.hostname}:${port}/live_reload`);
  socket.onmessage = (event) => {
    const news = JSON.parse(event.data);
    if (news.css) {
      for (const link of document.querySelectorAll('link[rel="stylesheet"]')) {
        const address = new URL(link.href);
        address.searchParams.set("t", Date.now());
        const fresh = link.cloneNode();
        fresh.href = address;
        fresh.onload = () => link.remove();
        link.after(fresh);
      }
    } else if (news.all || news.view) {
      location.reload();
    }
  };
  // The watcher restarts with the server; without it there is nothing to reload.
  socket.onclose = () => setTimeout(listen, 1000);
}
listen();
