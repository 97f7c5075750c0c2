@testable import WebSocketKitLite

extension FuzzTarget {
    /// A client takes an answer to its handshake apart the same way in any pieces, and accepts only one that proves
    /// the key and names nothing that was not offered.
    static let upgradeResponse = FuzzTarget("upgrade-response") { input in
        let seed = input.uint16()
        let bytes = input.rest()
        let whole = ResponseLog([bytes[...]])
        for pieces in [bytes.pieces(seed: 0), bytes.pieces(seed: seed)] {
            let log = ResponseLog(pieces)
            try check(log == whole, "in pieces \(log), all at once \(whole)")
        }
        try check(whole.usedBytes <= HTTPResponseHeadParser.maxHeadBytes, "\(whole.usedBytes) bytes of head were taken")
        guard let head = whole.head else { return }
        let key = "dGhlIHNhbXBsZSBub25jZQ=="
        guard
            let response = try? UpgradeResponse.validate(
                head,
                key: key,
                offeredSubprotocols: ["edge.v1", "chat"],
                offeredDeflate: PerMessageDeflate.Configuration()
            )
        else { return }
        try check(bytes.contains("s3pPLMBiTxaQ9kYGzzhZRbK+xOo=".utf8), "accepted without the proof")
        try check([nil, "edge.v1", "chat"].contains(response.subprotocol), "accepted another subprotocol")
    }

    /// A server accepts only a request that RFC 6455 §4.2.1 describes, and what it answers a client accepts.
    static let serverHandshake = FuzzTarget("server-handshake") { input in
        let method = input.bool() ? "GET" : "POST"
        var headers = HeaderFields()
        for line in input.rest().split(separator: 0x0A) {
            let parts = line.split(separator: UInt8(ascii: ":"), maxSplits: 1, omittingEmptySubsequences: false)
            let value = parts.count > 1 ? String(decoding: parts[1], as: UTF8.self) : ""
            headers.append(name: String(decoding: parts[0], as: UTF8.self), value: ASCII.trim(value))
        }
        do {
            let answer = try ServerHandshake.accept(
                method: method,
                headers: headers,
                supportedSubprotocols: ["edge.v1"],
                deflate: PerMessageDeflate.Configuration()
            )
            try check(method == "GET", "a POST was upgraded")
            let key = headers["Sec-WebSocket-Key"] ?? ""
            var bytes = Array("HTTP/1.1 101 Switching Protocols\r\n".utf8)
            answer.headers.write(to: &bytes)
            bytes += [0x0D, 0x0A]
            var parser = HTTPResponseHeadParser()
            var rest = bytes[...]
            guard let head = try parser.next(&rest) else { throw BrokenPromise(description: "the answer is cut") }
            // Any client's request may have come; ours would have offered all that the answer can name.
            let response = try UpgradeResponse.validate(
                head,
                key: key,
                offeredSubprotocols: ["edge.v1"],
                offeredDeflate: PerMessageDeflate.Configuration()
            )
            try check(response.subprotocol == answer.subprotocol, "the two sides heard different subprotocols")
            try check((response.deflate == nil) == (answer.deflate == nil), "only one side compresses")
        } catch let rejection as ServerHandshake.Rejection {
            try check((400...426).contains(rejection.status), "refused with \(rejection.status)")
        }
    }

    /// A chunked body comes out the same in any pieces, within its limit.
    static let httpBody = FuzzTarget("http-body") { input in
        let maxBytes = input.int(in: 0...600)
        let seed = input.uint16()
        let bytes = input.rest()
        let whole = BodyLog([bytes[...]], maxBytes: maxBytes)
        try check(whole.body.count <= maxBytes, "\(whole.body.count) bytes were taken, \(maxBytes) are allowed")
        for pieces in [bytes.pieces(seed: 0), bytes.pieces(seed: seed)] {
            let log = BodyLog(pieces, maxBytes: maxBytes)
            try check(log.isEquivalent(to: whole), "in pieces \(log), all at once \(whole)")
        }
    }

    /// Base64 has one form for each value: whatever is decoded is encoded the same way.
    static let base64 = FuzzTarget("base64") { input in
        let bytes = input.rest()
        try check(Base64.decode(Base64.encode(bytes)) == bytes, "\(bytes) did not come back")
        let text = String(decoding: bytes, as: UTF8.self)
        if let decoded = Base64.decode(text) {
            try check(Base64.encode(decoded) == text, "\(text) has a second form")
        }
    }

    /// A URL that can be dialed means the same when it is written out and read again.
    static let endpoint = FuzzTarget("endpoint") { input in
        let text = String(decoding: input.rest(), as: UTF8.self)
        guard let endpoint = try? Endpoint(text) else { return }
        let again = try Endpoint(endpoint.description)
        try check(again == endpoint, "\(endpoint) became \(again)")
        try check((1...65535).contains(endpoint.port) && !endpoint.host.isEmpty, "\(endpoint) cannot be dialed")
        let request = UpgradeRequest(
            authority: endpoint.authority,
            target: endpoint.target,
            key: "",
            subprotocols: [],
            headers: [:]
        )
        let lines = try request.serialize().split(separator: 0x0A, omittingEmptySubsequences: false)
        try check(lines.count == 8, "the request has \(lines.count) lines: the URL got into the headers")
    }
}

/// What a client's head parser made of a stream.
private struct ResponseLog: Equatable, CustomStringConvertible {
    var head: HTTPResponseHead?
    var usedBytes = 0
    var error: HTTPSyntaxError?

    init(_ pieces: [ArraySlice<UInt8>]) {
        var parser = HTTPResponseHeadParser()
        for piece in pieces where head == nil && error == nil {
            var input = piece
            do throws(HTTPSyntaxError) {
                head = try parser.next(&input)
                usedBytes += piece.count - input.count
            } catch {
                self.error = error
                // How far it read before it noticed is nobody's business.
                usedBytes = 0
            }
        }
    }

    var description: String {
        "\(head.map { "\($0.status) \($0.reason) \($0.headers.fields)" } ?? "no head"), \(usedBytes), \(error, default: "")"
    }

    static func == (left: Self, right: Self) -> Bool { left.description == right.description }
}

/// What the chunked parser made of a stream.
private struct BodyLog {
    var body: [UInt8] = []
    var isFinished = false
    var usedBytes = 0
    var error: HTTPBodyError?

    init(_ pieces: [ArraySlice<UInt8>], maxBytes: Int) {
        var parser = ChunkedBodyParser()
        for piece in pieces where error == nil && !isFinished {
            var input = piece
            do throws(HTTPBodyError) {
                try parser.parse(&input, into: &body, maxBodyBytes: maxBytes)
            } catch {
                self.error = error
            }
            usedBytes += piece.count - input.count
            isFinished = parser.isFinished
        }
    }

    /// Smaller pieces may take a little more of the body before they find it too large or broken.
    func isEquivalent(to whole: BodyLog) -> Bool {
        guard error == whole.error, isFinished == whole.isFinished else { return false }
        return error == nil ? body == whole.body && usedBytes == whole.usedBytes : body.starts(with: whole.body)
    }
}
