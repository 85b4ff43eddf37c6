"""A PDF of a few lines. Pure (PDF 1.4: objects, their offsets, a trailer)."""

from __future__ import annotations


def pdf(lines: list[str]) -> bytes:
    """One page with these lines; characters outside Latin-1 become question marks."""
    escaped = [line.replace("\\", r"\\").replace("(", r"\(").replace(")", r"\)").encode("latin-1", "replace") for line in lines]
    text = b"BT /F1 12 Tf 50 780 Td 18 TL " + b" ".join(b"(" + line + b") Tj T*" for line in escaped) + b" ET"
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 595 842] /Contents 4 0 R /Resources << /Font << /F1 5 0 R >> >> >>",
        b"<< /Length %d >>\nstream\n%b\nendstream" % (len(text), text),
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
    ]
    out, offsets = bytearray(b"%PDF-1.4\n"), []
    for number, content in enumerate(objects, 1):
        offsets.append(len(out))
        out += b"%d 0 obj\n%b\nendobj\n" % (number, content)
    start = len(out)
    out += b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1)
    out += b"".join(b"%010d 00000 n \n" % offset for offset in offsets)
    return bytes(out + b"trailer\n<< /Size %d /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF\n" % (len(objects) + 1, start))
