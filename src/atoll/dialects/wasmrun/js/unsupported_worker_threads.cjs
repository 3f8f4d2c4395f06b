// `worker_threads` is there, so that packages which only mention it load; using it is an error.
"use strict";
const { refusing } = require("./refusing.cjs");

const refuse = refusing("worker_threads");
exports.BroadcastChannel = refuse("BroadcastChannel");
exports.MessageChannel = refuse("MessageChannel");
exports.MessagePort = refuse("MessagePort");
exports.SHARE_ENV = Symbol("worker_threads.SHARE_ENV");
exports.Worker = refuse("Worker");
exports.getEnvironmentData = refuse("getEnvironmentData");
exports.isInternalThread = false;
exports.isMainThread = true;
exports.isMarkedAsUntransferable = refuse("isMarkedAsUntransferable");

exports.markAsUncloneable = refuse("markAsUncloneable");
exports.markAsUntransferable = refuse("markAsUntransferable");
exports.moveMessagePortToContext = refuse("moveMessagePortToContext");
exports.parentPort = null;
exports.postMessageToThread = refuse("postMessageToThread");
exports.receiveMessageOnPort = refuse("receiveMessageOnPort");
exports.resourceLimits = {};
exports.setEnvironmentData = refuse("setEnvironmentData");
exports.threadId = 0;
exports.threadName = "";
exports.workerData = null;
