import Testing

@testable import EdgeAgent

@Suite struct LineSplitterTests {
    private func split(_ chunks: [[UInt8]], limit: Int) -> [String] {
        var splitter = LineSplitter(maximumLineBytes: limit)
        var pieces: [String] = []
        let emit: (LineSplitter.Piece) -> Void = { piece in
            switch piece {
            case .line(let line): pieces.append("line " + String(decoding: line, as: UTF8.self))
            case .beginning(let line): pieces.append("beginning " + String(decoding: line, as: UTF8.self))
            case .cut(let droppedBytes): pieces.append("cut \(droppedBytes)")
            }
        }
        for chunk in chunks { chunk.withUnsafeBytes { splitter.feed($0, emit: emit) } }
        splitter.end(emit: emit)
        return pieces
    }

    @Test("Lines come out the same wherever the stream is divided")
    func everySplit() {
        let stream = Array("a\n\nfive5\nsixsix6\nabcdefghij\nlast".utf8)
        let whole = split([stream], limit: 5)
        #expect(
            whole == [
                "line a", "line ", "line five5", "beginning sixsi", "cut 2", "beginning abcde", "cut 5", "line last",
            ]
        )
        for index in 0...stream.count {
            #expect(
                split([Array(stream[..<index]), Array(stream[index...])], limit: 5) == whole,
                "divided at \(index)"
            )
        }
        #expect(split(stream.map { [$0] }, limit: 5) == whole)
    }

    @Test("A stream that ends in a newline has no empty last line")
    func noEmptyLast() {
        #expect(split([Array("a\n".utf8)], limit: 9) == ["line a"])
        #expect(split([], limit: 9).isEmpty)
    }
}
