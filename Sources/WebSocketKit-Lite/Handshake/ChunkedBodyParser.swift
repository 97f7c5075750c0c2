/// Takes the chunked transfer coding apart (RFC 9112 §7.1). Chunk extensions and trailers are skipped.
///
///     size --size > 0--> data(left) --all--> dataEnd --CR LF--> size
///     size --size = 0--> trailer --empty line--> finished
struct ChunkedBodyParser: Sendable {
    private enum State: Sendable {
        case size, data(left: Int), dataEnd, trailer, finished
    }

    /// A size line or all trailers together; what a server may say that carries no data.
    private static let maxLineBytes = 8 * 1024
    /// Hexadecimal digits of a size: 60 bits, more than any limit on bodies, and no overflow.
    private static let maxSizeDigits = 15

    private var state = State.size
    private var line: [UInt8] = []
    private var trailerBytes = 0

    /// Whether the last chunk and the trailer are complete.
    var isFinished: Bool {
        if case .finished = state { true } else { false }
    }

    /// Appends the data in `input` to `body`, as long as that stays within `maxBodyBytes`.
    mutating func parse(
        _ input: inout ArraySlice<UInt8>,
        into body: inout [UInt8],
        maxBodyBytes: Int
    ) throws(HTTPBodyError) {
        while !input.isEmpty, !isFinished {
            if case .data(let left) = state {
                let chunk = input.prefix(left)
                guard body.count + chunk.count <= maxBodyBytes else { throw .tooLarge }
                body.append(contentsOf: chunk)
                input = input.dropFirst(chunk.count)
                state = chunk.count == left ? .dataEnd : .data(left: left - chunk.count)
            } else if let text = try nextLine(&input) {
                try take(text)
            }
        }
    }

    private mutating func nextLine(_ input: inout ArraySlice<UInt8>) throws(HTTPBodyError) -> String? {
        let end = input.firstIndex(of: 0x0A)
        line.append(contentsOf: input[..<(end ?? input.endIndex)])
        input = end.map { input[($0 + 1)...] } ?? input[input.endIndex...]
        guard line.count <= Self.maxLineBytes else { throw .syntax("a line of the chunked body is too long") }
        guard end != nil else { return nil }
        guard line.last == 0x0D else { throw .syntax("a line of the chunked body does not end in CR LF") }
        defer { line.removeAll(keepingCapacity: true) }
        return String(decoding: line.dropLast(), as: UTF8.self)
    }

    private mutating func take(_ text: String) throws(HTTPBodyError) {
        switch state {
        case .size:
            let digits = ASCII.trim(text.prefix { $0 != ";" })
            guard (1...Self.maxSizeDigits).contains(digits.utf8.count),
                digits.utf8.allSatisfy({ ASCII.isDigit($0) || (0x61...0x66).contains($0 | 0x20) }),
                let size = Int(digits, radix: 16)
            else { throw .syntax("a chunk's size is not a hexadecimal number") }
            state = size == 0 ? .trailer : .data(left: size)
        case .dataEnd:
            guard text.isEmpty else { throw .syntax("a chunk is longer than its size says") }
            state = .size
        case .trailer:
            trailerBytes += text.utf8.count
            guard trailerBytes <= Self.maxLineBytes else { throw .syntax("the trailers are too long") }
            if text.isEmpty {
                state = .finished
            }
        case .data, .finished:
            break
        }
    }
}

/// What can be wrong with a body.
enum HTTPBodyError: Error, Equatable, Sendable {
    case tooLarge
    case syntax(String)
}
