/// The status line and header fields of an HTTP/1.x response (RFC 9112 §4, §5).
struct HTTPResponseHead: Sendable {
    /// The minor version: 0 or 1.
    let minorVersion: Int
    /// The three-digit status code.
    let status: Int
    /// The reason phrase; for people.
    let reason: String
    /// The header fields.
    let headers: HeaderFields
}

/// What is wrong with a response as HTTP.
struct HTTPSyntaxError: Error, Equatable, Sendable {
    let message: String
}

/// Reads a response head that arrives in pieces, strictly and within limits.
struct HTTPResponseHeadParser: Sendable {
    /// Generous for any server, and little for us to hold.
    static let maxHeadBytes = 16 * 1024
    static let maxFieldCount = 100

    private var lineBytes: [UInt8] = []
    private var totalBytes = 0
    private var statusLine: (minorVersion: Int, status: Int, reason: String)?
    private var headers = HeaderFields()

    /// Takes bytes from `input` up to the end of the head. Returns the head once it is complete; what is left of
    /// `input` then is the beginning of the body.
    mutating func next(_ input: inout ArraySlice<UInt8>) throws(HTTPSyntaxError) -> HTTPResponseHead? {
        while let lineEnd = input.firstIndex(of: 0x0A) {
            lineBytes.append(contentsOf: input[..<lineEnd])
            try count(input[...lineEnd].count)
            input = input[(lineEnd + 1)...]
            guard lineBytes.last == 0x0D else { throw HTTPSyntaxError(message: "a line does not end in CR LF") }
            lineBytes.removeLast()
            let line = lineBytes
            lineBytes.removeAll(keepingCapacity: true)
            if let head = try take(line) { return head }
        }
        try count(input.count)
        lineBytes.append(contentsOf: input)
        input = input[input.endIndex...]
        return nil
    }

    private mutating func count(_ bytes: Int) throws(HTTPSyntaxError) {
        totalBytes += bytes
        guard totalBytes <= Self.maxHeadBytes else {
            throw HTTPSyntaxError(message: "the response head is larger than \(Self.maxHeadBytes) bytes")
        }
    }

    private mutating func take(_ line: [UInt8]) throws(HTTPSyntaxError) -> HTTPResponseHead? {
        guard line.allSatisfy(ASCII.isFieldContent) else {
            throw HTTPSyntaxError(message: "control characters in the response head")
        }
        let text = String(decoding: line, as: UTF8.self)
        guard let statusLine else {
            statusLine = try Self.parseStatusLine(text)
            return nil
        }
        guard !text.isEmpty else {
            return HTTPResponseHead(
                minorVersion: statusLine.minorVersion,
                status: statusLine.status,
                reason: statusLine.reason,
                headers: headers
            )
        }
        // A line that begins with a blank would be an obsolete folded line (RFC 9112 §5.2); a token cannot.
        guard let colon = text.firstIndex(of: ":"), ASCII.isToken(text[..<colon]) else {
            throw HTTPSyntaxError(message: "a header line without a proper name")
        }
        guard headers.fields.count < Self.maxFieldCount else {
            throw HTTPSyntaxError(message: "more than \(Self.maxFieldCount) header fields")
        }
        headers.append(name: String(text[..<colon]), value: ASCII.trim(text[text.index(after: colon)...]))
        return nil
    }

    private static func parseStatusLine(
        _ line: String
    ) throws(HTTPSyntaxError) -> (minorVersion: Int, status: Int, reason: String) {
        let parts = line.split(separator: " ", maxSplits: 2, omittingEmptySubsequences: false)
        guard parts.count >= 2,
            parts[0] == "HTTP/1.1" || parts[0] == "HTTP/1.0",
            parts[1].utf8.count == 3,
            let status = ASCII.decimal(parts[1]), (100...599).contains(status)
        else { throw HTTPSyntaxError(message: "the answer does not begin like HTTP/1.1") }
        return (parts[0] == "HTTP/1.1" ? 1 : 0, status, parts.count == 3 ? String(parts[2]) : "")
    }
}
