@testable import EdgeAgent

extension FuzzTarget {
    /// What a bot prints behind the packet prefix is one JSON object, or refused.
    static let packetLine = FuzzTarget("packet-line") { input in
        let line = input.rest()
        guard let fields = PacketFields(line) else {
            try check(!PacketFields.isObject(line), "refused, and taken for an object")
            return
        }
        try check(PacketFields(line) == fields, "read twice, it says two things")
        try check(String(validating: line, as: UTF8.self) != nil, "an object that is no text")
    }

    /// Lines come out the same whatever pieces a bot's output arrives in, and no byte of it is lost uncounted.
    static let lines = FuzzTarget("lines") { input in
        let limit = input.int(in: 1...40)
        let seed = input.uint16()
        let bytes = input.rest()
        let whole = LineLog([bytes[...]], limit: limit)
        for pieces in [bytes.pieces(seed: 0), bytes.pieces(seed: seed)] {
            let log = LineLog(pieces, limit: limit)
            try check(log == whole, "in pieces \(log), all at once \(whole)")
        }
        let newlines = bytes.count { $0 == 0x0A }
        let counted = whole.keptBytes + whole.droppedBytes + newlines
        try check(counted == bytes.count, "\(bytes.count) bytes became \(whole)")
        let expected = bytes.split(separator: 0x0A, omittingEmptySubsequences: false).map { Array($0.prefix(limit)) }
        let lines = bytes.isEmpty || bytes.last == 0x0A ? expected.dropLast() : expected[...]
        try check(whole.lines.elementsEqual(lines), "\(whole.lines) instead of \(lines)")
    }

    /// A line of a log is a record that is written the same way again, or none.
    static let logRecord = FuzzTarget("log-record") { input in
        let line = input.rest()
        guard let record = LogRecord(line: line[...], offset: 5) else { return }
        var again: [UInt8] = []
        record.text.withUnsafeBytes { text in
            LogRecord.write(
                to: &again,
                timestamp: Array(line.prefix(30)),
                stream: record.stream,
                isTruncated: record.isTruncated,
                text: text
            )
        }
        try check(again == line + [0x0A], "\(line) was written again as \(again)")
        try check(record.endOffset == 5 + UInt64(again.count), "the next record begins at \(record.endOffset)")
    }
}

/// What came out of the splitter.
private struct LineLog: Equatable {
    var lines: [[UInt8]] = []
    var droppedBytes = 0
    var keptBytes: Int { lines.reduce(0) { $0 + $1.count } }

    init(_ pieces: [ArraySlice<UInt8>], limit: Int) {
        var splitter = LineSplitter(maximumLineBytes: limit)
        for piece in pieces {
            piece.withUnsafeBytes { bytes in splitter.feed(bytes) { take($0) } }
        }
        splitter.end { take($0) }
    }

    private mutating func take(_ piece: LineSplitter.Piece) {
        switch piece {
        case .line(let line), .beginning(let line): lines.append(Array(line))
        case .cut(let dropped): droppedBytes += dropped
        }
    }
}
