/// A promise about code that takes bytes from outside, put to the test with whatever bytes it is given.
struct FuzzTarget: Sendable, CustomStringConvertible {
    /// The name of the target's folders in Corpus and FailCases, and of `--target=`.
    let name: String
    /// Tests the promise with one input. Throws `BrokenPromise`; a trap is a finding, too.
    let run: @Sendable (ByteReader) throws -> Void

    init(_ name: String, _ run: @escaping @Sendable (inout ByteReader) throws -> Void) {
        self.name = name
        self.run = { reader in
            var reader = reader
            try run(&reader)
        }
    }

    var description: String { name }

    static let all: [FuzzTarget] = [
        frames, connection, connectionDeflate, connectionPair, closeFrame, utf8, masking, inflate, deflate, extensions,
        upgradeResponse, serverHandshake, httpBody, base64, endpoint, proxyDialogue, proxySettings,
        mux, muxPair, agentSession, hubSession,
        packetLine, lines, logRecord,
        syncTarget, syncSource, blockDelta, inflatePiece,
        wireNumbers, jsonNumbers,
    ]
}

/// What a fuzz target found.
struct BrokenPromise: Error, CustomStringConvertible {
    let description: String
}

/// Throws `BrokenPromise` unless `condition` holds.
func check(
    _ condition: Bool,
    _ promise: @autoclosure () -> String,
    line: Int = #line,
    file: String = #fileID
) throws(BrokenPromise) {
    guard condition else { throw BrokenPromise(description: "\(file):\(line): \(promise())") }
}
