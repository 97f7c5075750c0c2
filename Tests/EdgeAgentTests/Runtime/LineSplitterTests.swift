import Testing

@testable import EdgeAgent

@Suite struct LineSplitterTests {
    private func split(_ chunks: [[UInt8]], limit: Int, prefix: String = "") -> [String] {
        var splitter = LineSplitter(maximumLineBytes: limit, wholeLinePrefix: Array(prefix.utf8))
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

    @Test("A line ends at carriage returns as well, keeps one of them, and those before a newline are none of it")
    func carriageReturns() {
        let stream = Array("10%\r20%\r\r30%\r\n\r40%\r\rplain\r\r\nabcdefghij\rk\rlast\r".utf8)
        let whole = split([stream], limit: 7)
        #expect(
            whole == [
                "line 10%\r", "line 20%\r", "line 30%", "line 40%\r", "line plain", "beginning abcdefg", "cut 3",
                "line k\r",
                "line last",
            ]
        )
        for index in 0...stream.count {
            #expect(
                split([Array(stream[..<index]), Array(stream[index...])], limit: 7) == whole,
                "divided at \(index)"
            )
        }
        #expect(split(stream.map { [$0] }, limit: 7) == whole)
    }

    @Test("A line with the prefix of packets ends at a newline only, wherever the stream is divided")
    func packets() {
        let stream = Array("@@{\"a\":\r1}\r\n@\r@@{}\n@@{\"long\":\r\"0123456789\"}\nx\r\n".utf8)
        let whole = split([stream], limit: 12, prefix: "@@")
        #expect(
            whole == [
                "line @@{\"a\":\r1}\r", "line @\r", "line @@{}", "beginning @@{\"long\":\r\"", "cut 12", "line x",
            ]
        )
        for index in 0...stream.count {
            #expect(
                split([Array(stream[..<index]), Array(stream[index...])], limit: 12, prefix: "@@") == whole,
                "divided at \(index)"
            )
        }
        #expect(split(stream.map { [$0] }, limit: 12, prefix: "@@") == whole)
    }

    @Test("What was said before a progress bar stays among the last lines")
    func lastLines() {
        var last = LastLines()
        last.append(Array("cannot open the model".utf8))
        for percent in 0..<5000 { last.append(Array("\(percent) %\r".utf8)) }
        last.append(Array("fatal: out of memory".utf8))
        #expect(String(decoding: last.text, as: UTF8.self) == "cannot open the model\nfatal: out of memory\n")
    }
}
