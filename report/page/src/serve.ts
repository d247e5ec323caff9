// The pages of a store: which one this is, stands in it.

import { begin } from "./theme";
import { compare } from "./serve/compare";
import { header } from "./serve/header";
import { live } from "./serve/live";
import { table } from "./serve/table";

begin();
header();
const main = document.getElementById("main");
if (main) {
  const { page, run, what, more, store } = document.body.dataset;
  switch (page) {
    case "table":
      table(main, store ?? "", "readOnly" in document.body.dataset);
      break;
    case "compare":
      void compare(main);
      break;
    case "live":
      live(main, run ?? "", what ?? "", more ?? "");
      break;
  }
}
