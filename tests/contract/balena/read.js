// Reads a compose file as balena does, and prints what it makes of each service.
"use strict";
const fs = require("fs");
const yaml = require("js-yaml");
const { normalize, parse } = require("resin-compose-parse");

const read = normalize(yaml.load(fs.readFileSync(process.argv[2], "utf8")));
parse(read);
console.log(JSON.stringify(read));
