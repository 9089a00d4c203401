"""Exports Hugging Face vision-language models to the dual-program ONNX contract (vision.onnx, language.onnx)."""
