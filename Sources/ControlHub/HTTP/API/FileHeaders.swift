import Foundation
import HTTPTypes
import WireFormat

/// What is said of a bot's file, so that no browser ever takes it for a page of the hub's.
enum FileHeaders {
    /// Shown as what they are; nothing else is, least of all what can carry a script.
    private static let types = [
        "txt": "text/plain", "md": "text/plain", "log": "text/plain", "json": "text/plain", "csv": "text/plain",
        "yaml": "text/plain", "yml": "text/plain", "toml": "text/plain", "py": "text/plain", "js": "text/plain",
        "html": "text/plain", "css": "text/plain", "sh": "text/plain", "xml": "text/plain", "ini": "text/plain",
        "png": "image/png", "jpg": "image/jpeg", "jpeg": "image/jpeg", "gif": "image/gif", "webp": "image/webp",
    ]

    static func headers(_ entry: WireWorkspaceEntry, _ path: [UInt8], isDownload: Bool) -> HTTPFields {
        let name = path.split(separator: UInt8(ascii: "/")).last.map(Array.init) ?? []
        let text = String(decoding: name, as: UTF8.self)
        let suffix = text.split(separator: ".").last.map { $0.lowercased() } ?? ""
        let type = isDownload ? "application/octet-stream" : types[suffix] ?? "application/octet-stream"
        var headers: HTTPFields = [
            .contentType: type.hasPrefix("text/") ? type + "; charset=utf-8" : type,
            .eTag: "\"\(entry.tag)\"",
            .acceptRanges: "bytes",
            .cacheControl: "no-cache, private",
            .contentSecurityPolicy: "sandbox; default-src 'none'; frame-ancestors 'none'",
            .xContentTypeOptions: "nosniff",
        ]
        headers[.lastModified] = httpDate(entry.modifiedUnixNs)
        let isShown = types[suffix] != nil && !isDownload
        headers[.contentDisposition] =
            "\(isShown ? "inline" : "attachment"); filename*=UTF-8''"
            + PercentEncoding.encode(Array(text.utf8), keeping: PercentEncoding.attributeBytes)
        return headers
    }

    /// RFC 9110 §5.6.7.
    static func httpDate(_ unixNanoseconds: Int64) -> String {
        let date = Date(unixMilliseconds: unixNanoseconds / 1_000_000)
        let style = Date.VerbatimFormatStyle(
            format: """
                \(weekday: .abbreviated), \(day: .twoDigits) \(month: .abbreviated) \(year: .padded(4)) \
                \(hour: .twoDigits(clock: .twentyFourHour, hourCycle: .zeroBased)):\(minute: .twoDigits):\(second: .twoDigits) GMT
                """,
            locale: Locale(identifier: "en_US_POSIX"),
            timeZone: .gmt,
            calendar: Calendar(identifier: .gregorian)
        )
        return date.formatted(style)
    }
}

/// Percent-encoding (RFC 3986 §2.1) of bytes that need not be text.
enum PercentEncoding {
    private static let unreserved = Set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~".utf8)
    /// What stays in a path of several parts.
    static let pathBytes = unreserved.union([UInt8(ascii: "/")])
    /// What stays in a parameter's value (RFC 8187 §3.2.1).
    static let attributeBytes = unreserved

    static func encode(_ bytes: [UInt8], keeping kept: Set<UInt8>) -> String {
        let digits = Array("0123456789ABCDEF".utf8)
        let plain = kept.isEmpty ? unreserved : kept
        var text: [UInt8] = []
        for byte in bytes {
            if plain.contains(byte) {
                text.append(byte)
            } else {
                text += [0x25, digits[Int(byte >> 4)], digits[Int(byte & 15)]]
            }
        }
        return String(decoding: text, as: UTF8.self)
    }

    /// Throws `invalidRequest` where a percent sign is not followed by two digits.
    static func decode(_ text: some StringProtocol) throws -> [UInt8] {
        var bytes: [UInt8] = []
        var rest = Array(text.utf8)[...]
        while let byte = rest.popFirst() {
            guard byte == UInt8(ascii: "%") else {
                bytes.append(byte)
                continue
            }
            guard rest.count >= 2, let value = UInt8(String(decoding: rest.prefix(2), as: UTF8.self), radix: 16) else {
                throw HubError(.invalidRequest, "A % in the address must be followed by two hexadecimal digits.")
            }
            bytes.append(value)
            rest = rest.dropFirst(2)
        }
        return bytes
    }

    /// A path in a workspace. Slashes at the ends do not count.
    ///
    /// Throws `invalidRequest` for `.`, `..`, empty parts and zero bytes, so that what the node is asked for is what the
    /// address says.
    static func path(_ text: some StringProtocol) throws -> [UInt8] {
        let bytes = try decode(text)
        let slash = UInt8(ascii: "/")
        let trimmed = Array(bytes.drop { $0 == slash }.reversed().drop { $0 == slash }.reversed())
        guard WorkspacePath(trimmed) != nil else {
            throw HubError(
                .invalidRequest,
                "A path is names with / between; `.`, `..`, empty names and names of more than 255 bytes are none."
            )
        }
        return trimmed
    }
}
