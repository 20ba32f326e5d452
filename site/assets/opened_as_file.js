// The search of a page that is opened as a file, where a browser lets a script neither fetch the index nor start a worker: the
// index comes as a script (hooks.py makes it), and the worker runs in a frame.
var __search;
if (location.protocol === "file:") {
  document.write(`<script src="${new URL("../search/search_index.js", document.currentScript.src)}"><\/script>`);
  __search = {
    get index() {
      return Promise.resolve(__index);
    },
  };
  window.Worker = class extends EventTarget {
    constructor(url) {
      super();
      const frame = document.createElement("iframe");
      frame.hidden = true;
      document.body.append(frame);
      const inside = frame.contentWindow;
      inside.postMessage = (data) =>
        this.dispatchEvent(new MessageEvent("message", { data: structuredClone(data) }));
      this.ready = new Promise((resolve) => {
        const script = inside.document.createElement("script");
        script.src = url;
        script.onload = () => resolve(inside);
        inside.document.body.append(script);
      });
    }
    postMessage(data) {
      this.ready.then((inside) => inside.dispatchEvent(new MessageEvent("message", { data })));
    }
  };
}
