// Functions and classes that only say that they are not supported.
"use strict";

exports.refusing = (module) => (name) =>
  function refused() {
    const error = new Error(`${module}.${name} is not supported`);
    error.code = "ERR_NOT_SUPPORTED";
    throw error;
  };
