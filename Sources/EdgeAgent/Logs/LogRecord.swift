import Glibc
import WireFormat

/// Where a record of a bot's log came from.
///
/// A bot's log is a sequence of segment files `logs/<20-digit start offset>.log`. Every line of them is one record in
/// the log format of the Container Runtime Interface:
///
/// ```
/// 2026-01-31T12:00:00.123456789Z stdout F text\n
/// ```
/// `F` is a whole line. `P` is a line that was longer than the limit: its beginning, the rest was dropped and counted.
/// A record's offset is its position in the concatenation of all segments ever written, so it survives rotation.
enum LogStream: UInt8, Sendable, CaseIterable {
    case stdout
    case stderr
    /// A monitor packet: a stdout line that began with the launch's packet prefix, which is removed.
    case packet
    /// One JSON object a line: what the supervisor itself has to say, see `SupervisorEvent`.
    case supervisor

    var name: StaticString {
        switch self {
        case .stdout: "stdout"
        case .stderr: "stderr"
        case .packet: "packet"
        case .supervisor: "supervisor"
        }
    }

    init?(name: UnsafeRawBufferPointer) {
        guard let base = name.baseAddress else { return nil }
        for stream in Self.allCases {
            let known = stream.name
            guard known.utf8CodeUnitCount == name.count, memcmp(known.utf8Start, base, name.count) == 0 else {
                continue
            }
            self = stream
            return
        }
        return nil
    }
}

/// One record read back from a log.
struct LogRecord: Sendable, Equatable {
    /// Position of the record's first byte in the bot's whole log.
    let offset: UInt64
    /// Position just after the record.
    let endOffset: UInt64
    let atUnixMilliseconds: UInt64
    let stream: LogStream
    /// The line was longer than the limit; `text` is its beginning.
    let isTruncated: Bool
    /// Without the newline; any bytes but a newline.
    let text: [UInt8]

    /// What stands in front of a record's text.
    struct Head {
        let stream: LogStream
        let isTruncated: Bool
        let atUnixMilliseconds: UInt64
        /// Where the text begins.
        let length: Int

        /// Reads the beginning of one record.
        ///
        /// - Parameter line: the record without its newline.
        /// - Returns: nil where the bytes are no record; the log was damaged by someone else then.
        init?(_ line: UnsafeRawBufferPointer) {
            let timeBytes = LogTimestamp.byteCount
            let space = UInt8(ascii: " ")
            guard line.count > timeBytes + 4, line[timeBytes] == space, let base = line.baseAddress,
                let found = memchr(base + timeBytes + 1, Int32(clamping: space), line.count - timeBytes - 1),
                let time = LogTimestamp.unixMilliseconds(UnsafeRawBufferPointer(rebasing: line[..<timeBytes]))
            else { return nil }
            let nameEnd = UnsafeRawPointer(found) - base
            guard line.count >= nameEnd + 3, line[nameEnd + 2] == space,
                let stream = LogStream(name: UnsafeRawBufferPointer(rebasing: line[(timeBytes + 1)..<nameEnd]))
            else { return nil }
            switch line[nameEnd + 1] {
            case UInt8(ascii: "F"): isTruncated = false
            case UInt8(ascii: "P"): isTruncated = true
            default: return nil
            }
            self.stream = stream
            atUnixMilliseconds = time
            length = nameEnd + 3
        }
    }

    init(_ head: Head, _ line: UnsafeRawBufferPointer, offset: UInt64) {
        self.offset = offset
        endOffset = offset + UInt64(line.count) + 1
        atUnixMilliseconds = head.atUnixMilliseconds
        stream = head.stream
        isTruncated = head.isTruncated
        text = Array(UnsafeRawBufferPointer(rebasing: line[head.length...]))
    }

    /// Reads one record.
    ///
    /// - Parameter line: the record without its newline.
    /// - Returns: nil where the bytes are no record; the log was damaged by someone else then.
    init?(line: ArraySlice<UInt8>, offset: UInt64) {
        let record: LogRecord? = line.withUnsafeBytes { line in
            Head(line).map { LogRecord($0, line, offset: offset) }
        }
        guard let record else { return nil }
        self = record
    }

    /// Appends one record to `buffer`.
    ///
    /// - Parameters:
    ///   - timestamp: as `LogTimestamp.text` gives it.
    ///   - text: one line without its newline.
    static func write(
        to buffer: inout [UInt8],
        timestamp: [UInt8],
        stream: LogStream,
        isTruncated: Bool,
        text: UnsafeRawBufferPointer
    ) {
        buffer += timestamp
        stream.name.withUTF8Buffer { name in
            buffer.append(UInt8(ascii: " "))
            buffer += name
        }
        buffer.append(UInt8(ascii: " "))
        buffer.append(isTruncated ? UInt8(ascii: "P") : UInt8(ascii: "F"))
        buffer.append(UInt8(ascii: " "))
        buffer += text
        buffer.append(UInt8(ascii: "\n"))
    }
}

/// The time in front of each record: RFC 3339 in UTC with nanoseconds, always 30 bytes.
enum LogTimestamp {
    static let byteCount = 30

    /// The wall clock now.
    static func now() -> timespec {
        var time = timespec()
        clock_gettime(CLOCK_REALTIME, &time)
        return time
    }

    static func text(_ time: timespec) -> [UInt8] {
        var seconds = time.tv_sec
        var parts = tm()
        gmtime_r(&seconds, &parts)
        var result: [UInt8] = []
        result.reserveCapacity(30)
        func digits(_ value: Int, _ count: Int) {
            var divisor = 1
            for _ in 1..<count { divisor *= 10 }
            while divisor > 0 {
                result.append(UInt8(ascii: "0") + UInt8(value / divisor % 10))  // fits: one digit
                divisor /= 10
            }
        }
        digits(Int(clamping: parts.tm_year) + 1900, 4)
        result.append(UInt8(ascii: "-"))
        digits(Int(clamping: parts.tm_mon) + 1, 2)
        result.append(UInt8(ascii: "-"))
        digits(Int(clamping: parts.tm_mday), 2)
        result.append(UInt8(ascii: "T"))
        digits(Int(clamping: parts.tm_hour), 2)
        result.append(UInt8(ascii: ":"))
        digits(Int(clamping: parts.tm_min), 2)
        result.append(UInt8(ascii: ":"))
        digits(Int(clamping: parts.tm_sec), 2)
        result.append(UInt8(ascii: "."))
        digits(time.tv_nsec, 9)
        result.append(UInt8(ascii: "Z"))
        return result
    }

    /// Milliseconds since 1970, or nil where the bytes are not such a time.
    static func unixMilliseconds(_ text: ArraySlice<UInt8>) -> UInt64? {
        text.withUnsafeBytes { unixMilliseconds($0) }
    }

    static func unixMilliseconds(_ text: UnsafeRawBufferPointer) -> UInt64? {
        guard text.count == byteCount else { return nil }
        func number(_ from: Int, _ count: Int) -> Int64? {
            var value: Int64 = 0
            for index in from..<(from + count) {
                let byte = text[index]
                guard byte >= 0x30, byte <= 0x39 else { return nil }
                value = value * 10 + Int64(byte - 0x30)
            }
            return value
        }
        guard let year = number(0, 4), let month = number(5, 2), let day = number(8, 2), let hour = number(11, 2),
            let minute = number(14, 2), let second = number(17, 2), let fraction = number(20, 3)
        else { return nil }
        guard year >= 1970, text[4] == UInt8(ascii: "-"), text[7] == UInt8(ascii: "-"), text[10] == UInt8(ascii: "T"),
            text[13] == UInt8(ascii: ":"), text[16] == UInt8(ascii: ":"), text[19] == UInt8(ascii: "."),
            text[29] == UInt8(ascii: "Z"),
            let seconds = CivilTime.seconds(
                year: year,
                month: month,
                day: day,
                hour: hour,
                minute: minute,
                second: second
            )
        else { return nil }
        return UInt64(clamping: seconds) * 1_000 + UInt64(clamping: fraction)
    }
}
