/// The last of what a bot wrote on stderr, which is told where its launch has ended.
struct LastLines: Sendable, Equatable {
    private static let mostBytes = 4 << 10

    private var bytes: [UInt8] = []

    /// 4 KiB at most, each line with its newline, beginning with a whole line where there is one.
    var text: [UInt8] {
        guard bytes.count > Self.mostBytes else { return bytes }
        let end = bytes.suffix(Self.mostBytes)
        guard let newline = end.dropLast().firstIndex(of: UInt8(ascii: "\n")) else { return Array(end) }
        return Array(end[(newline + 1)...])
    }

    /// Appends a line. One that ended at a carriage return is written over by the next, as on a terminal: a progress bar does
    /// not push out what was said before it.
    mutating func append(_ line: some BidirectionalCollection<UInt8>) {
        dropOverwritten()
        bytes += line.suffix(Self.mostBytes)
        bytes.append(UInt8(ascii: "\n"))
        // Cut now and then only: a bot may write hundreds of thousands of lines a second here.
        if bytes.count > 4 * Self.mostBytes { bytes = text }
    }

    private mutating func dropOverwritten() {
        guard bytes.suffix(2).elementsEqual([LineSplitter.carriageReturn, UInt8(ascii: "\n")]) else { return }
        let end = bytes.dropLast().lastIndex(of: UInt8(ascii: "\n")).map { $0 + 1 } ?? 0
        bytes.removeLast(bytes.count - end)
    }
}
