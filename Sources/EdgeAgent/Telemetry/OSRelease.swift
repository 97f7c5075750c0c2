/// `/etc/os-release`: shell-like assignments, see os-release(5).
enum OSRelease {
    /// The name for people, such as `Debian GNU/Linux 12 (bookworm)`; nil where the file does not give one.
    static func prettyName(parsing bytes: ArraySlice<UInt8>) -> String? {
        var lines = ByteCursor(bytes)
        var found: String?
        while let line = lines.line() {
            let key = "PRETTY_NAME=".utf8
            guard line.starts(with: key) else { continue }
            let value = unquoted(line.dropFirst(key.count))
            // As in a shell, the last assignment counts.
            found = value.isEmpty ? nil : value
        }
        return found
    }

    private static func unquoted(_ text: ArraySlice<UInt8>) -> String {
        let (double, single, backslash) = (UInt8(ascii: "\""), UInt8(ascii: "'"), UInt8(ascii: "\\"))
        var rest = text
        while let last = rest.last, last == UInt8(ascii: " ") || last == UInt8(ascii: "\r") { rest.removeLast() }
        guard let quote = rest.first, quote == double || quote == single, rest.count >= 2, rest.last == quote else {
            return String(decoding: rest, as: UTF8.self)
        }
        rest = rest.dropFirst().dropLast()
        guard quote == double, rest.contains(backslash) else { return String(decoding: rest, as: UTF8.self) }
        var bytes: [UInt8] = []
        var escaped = false
        for byte in rest {
            if byte == backslash && !escaped {
                escaped = true
            } else {
                bytes.append(byte)
                escaped = false
            }
        }
        return String(decoding: bytes, as: UTF8.self)
    }
}
