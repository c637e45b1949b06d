"use strict";
// A click on a picture shows it as large as the window; a click or Escape closes it.
const viewer = document.querySelector("dialog");
document.addEventListener("click", (event) => {
  if (viewer.open) {
    viewer.close();
  } else if (event.target.matches(".card img")) {
    viewer.replaceChildren(event.target.cloneNode());
    viewer.showModal();
  }
});
