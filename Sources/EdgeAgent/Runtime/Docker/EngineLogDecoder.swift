import Glibc
import WireFormat

/// Takes apart what `GET /containers/{id}/logs` answers.
///
/// ```
/// [stream: 1 stdout, 2 stderr][0][0][0][length: 4 bytes, big-endian][timestamp in RFC 3339, blank, text]
/// ```
/// A frame is one entry of the engine's log: a line with its newline, or up to 16 KiB of a longer one; the pieces of a
/// line have the same timestamp.
struct EngineLogDecoder {
    struct Entry: Equatable {
        var stream: LogStream
        var time: timespec
        var text: ArraySlice<UInt8>

        static func == (left: Self, right: Self) -> Bool {
            left.stream == right.stream && left.time.tv_sec == right.time.tv_sec
                && left.time.tv_nsec == right.time.tv_nsec && left.text == right.text
        }
    }

    private static let headBytes = 8
    /// The engine cuts at 16 KiB; other engines may not.
    private static let mostBytes = 16 << 20

    private var buffer: [UInt8] = []
    private var position = 0

    /// Takes the next bytes of the body.
    mutating func feed(_ bytes: [UInt8]) {
        if position > 0 {
            buffer.removeFirst(position)
            position = 0
        }
        buffer += bytes
    }

    /// The next whole entry.
    ///
    /// - Throws: `EngineError.broken` for what is no such stream.
    mutating func next() throws(EngineError) -> Entry? {
        while buffer.count - position >= Self.headBytes {
            let head = buffer[position..<(position + Self.headBytes)]
            let length = head.suffix(4).reduce(0) { $0 << 8 | Int(clamping: $1) }
            guard head[position + 1] == 0, head[position + 2] == 0, head[position + 3] == 0, length <= Self.mostBytes
            else {
                throw .broken("the engine's log is not in frames; was the container made with a terminal?")
            }
            guard buffer.count - position >= Self.headBytes + length else { return nil }
            let begin = position + Self.headBytes
            position = begin + length
            let stream: LogStream
            switch head[head.startIndex] {
            case 1: stream = .stdout
            case 2: stream = .stderr
            // 0 is stdin, 3 an error of the engine's own: it says so and ends the stream.
            default: continue
            }
            let frame = buffer[begin..<position]
            guard let blank = frame.firstIndex(of: UInt8(ascii: " ")), let time = Self.time(frame[..<blank]) else {
                throw .broken("the engine's log has an entry without a time")
            }
            return Entry(stream: stream, time: time, text: frame[(blank + 1)...])
        }
        return nil
    }

    /// `2026-01-31T12:00:00.123456789Z`, with any number of digits after the point and any offset.
    static func time(_ text: ArraySlice<UInt8>) -> timespec? {
        RFC3339Time(text).map {
            timespec(tv_sec: time_t(clamping: $0.seconds), tv_nsec: Int(clamping: $0.nanoseconds))
        }
    }
}
