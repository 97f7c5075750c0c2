import Foundation
import SwiftProtobuf
import WireFormat

/// One frame of an archive's segment:
///
/// ```
/// length   u32 little-endian, of the body; never 0
/// body     a LogChunk; its last 9 bytes are a field of its own: tag (5 bytes), CRC-32 (u32 little-endian)
/// ```
/// The checksum covers the frame's place (log, segment, position) and all of the body before the field. It is a field that no
/// LogChunk has, so hubs of before it read such frames as well. Frames of those hubs have none; they count where what they say
/// can be. So zeros, what a crash has cut, and blocks of another file are no frames.
struct LogFrame {
    /// Where a frame stands.
    struct Place {
        /// Names the log.
        let log: String
        let segment: UInt64
        let byte: Int
    }

    static let lengthBytes = 4
    private static let sumBytes = 4
    /// The field 211426354, of four bytes. High enough for a tag that text does not end in by accident.
    private static let tag: [UInt8] = [0x95, 0xC3, 0xC3, 0xA6, 0x06]
    private static var trailerBytes: Int { tag.count + sumBytes }

    /// The frame's bytes.
    static func bytes(_ chunk: WireLogChunk, at place: Place) throws -> Data {
        var body: Data = try chunk.serializedData()
        let sum = sum(of: body, at: place)
        body += tag
        body += word(sum)
        return word(UInt32(clamping: body.count)) + body
    }

    /// - Returns: nil where the bytes are no frame of this place.
    static func chunk(_ body: Data, at place: Place) -> WireLogChunk? {
        let trailer = Array(body.suffix(trailerBytes))
        if body.count >= trailerBytes, trailer.starts(with: tag) {
            let content = body.dropLast(trailerBytes)
            guard number(trailer[tag.count...]) == sum(of: content, at: place) else { return nil }
            return try? WireLogChunk(bounded: Data(content))  // it was written so: then never
        }
        // A damaged one is none.
        guard let chunk = try? WireLogChunk(bounded: body), isPossible(chunk, in: place.segment) else { return nil }
        return chunk
    }

    static func number(_ bytes: some Sequence<UInt8>) -> UInt32 {
        bytes.reversed().reduce(0) { $0 << 8 | UInt32($1) }  // fits: four bytes of eight bits
    }

    /// Hubs of before the checksum wrote chunks with lines, in order, from the one that their segment is named by.
    private static func isPossible(_ chunk: WireLogChunk, in segment: UInt64) -> Bool {
        var last: UInt64?
        for line in chunk.lines {
            guard line.offset >= segment, last.map({ $0 < line.offset }) ?? true else { return false }
            last = line.offset
        }
        return last.map { $0 < chunk.nextOffset } ?? false
    }

    private static func sum(of body: Data, at place: Place) -> UInt32 {
        var sum = CRC32()
        sum.add("\(place.log) \(place.segment) \(place.byte) ".utf8)
        sum.add(body)
        return sum.value
    }

    private static func word(_ value: UInt32) -> Data {
        withUnsafeBytes(of: value.littleEndian) { Data($0) }
    }
}
