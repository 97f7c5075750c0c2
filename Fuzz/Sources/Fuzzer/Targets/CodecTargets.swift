@testable import WebSocketKitLite

extension FuzzTarget {
    /// Frames come out the same whatever pieces they arrive in, and written again they are the bytes that were read.
    static let frames = FuzzTarget("frames") { input in
        let expectsMask = input.bool()
        let allowed: FrameHeader.ReservedBits = input.bool() ? .first : []
        let seed = input.uint16()
        let bytes = input.rest()
        let whole = FrameLog(bytes, pieces: [bytes[...]], expectsMask: expectsMask, allowed: allowed)
        for split in [bytes.pieces(seed: 0), bytes.pieces(seed: seed)] {
            let log = FrameLog(bytes, pieces: split, expectsMask: expectsMask, allowed: allowed)
            try check(log == whole, "in pieces \(log), all at once \(whole)")
        }
        try check(bytes.starts(with: whole.written), "written again, the frames are other bytes")
        let missing = bytes.count - whole.written.count
        let isCut = missing < FrameSerializer.maxHeaderBytes
        try check(isCut || whole.violation != nil, "\(missing) bytes disappeared")
    }

    /// Whatever the pieces, the validator agrees with Swift's own decoder, and an error is found at the same byte.
    static let utf8 = FuzzTarget("utf8") { input in
        let seed = input.uint16()
        let bytes = input.rest()
        func firstError(_ pieces: [ArraySlice<UInt8>]) -> (piece: Int?, isComplete: Bool) {
            var validator = UTF8Validator()
            for (index, piece) in pieces.enumerated() {
                guard piece.withUnsafeBytes({ validator.validate($0) }) else { return (index, false) }
            }
            return (nil, validator.isAtBoundary)
        }
        let isValid = String(validating: bytes, as: UTF8.self) != nil
        let whole = firstError([bytes[...]])
        try check(whole.isComplete == isValid, "all at once: \(whole.isComplete), Swift says \(isValid)")
        let pieces = bytes.pieces(seed: seed)
        let split = firstError(pieces)
        try check(split.isComplete == isValid, "in pieces: \(split.isComplete), Swift says \(isValid)")
        let single = firstError(bytes.pieces(seed: 0))
        try check(single.isComplete == isValid, "single bytes: \(single.isComplete), Swift says \(isValid)")
        if let byte = single.piece, let piece = split.piece {
            try check(pieces[piece].indices.contains(byte), "an error at byte \(byte) was found elsewhere")
        }
        if let byte = single.piece {
            // The bytes before it can still become valid, so no error may be found earlier.
            let before = Array(bytes[..<byte])
            let endings: [[UInt8]] = [
                [], [0x80], [0x80, 0x80], [0x80, 0x80, 0x80], [0xA0, 0x80], [0x90, 0x80, 0x80],
            ]
            let canGoOn = endings.contains { String(validating: before + $0, as: UTF8.self) != nil }
            try check(canGoOn, "the error is earlier than byte \(byte)")
        }
    }

    /// Masking does what the RFC says byte by byte, at any alignment, in any pieces, and touches nothing else.
    static let masking = FuzzTarget("masking") { input in
        let key = input.uint32()
        let seed = input.uint16()
        let alignment = input.int(in: 0...15)
        let original = input.payload(sizes: [7, 8, 63, 64, 65, 127, 129, 1000])
        let keyBytes = (0..<4).map { UInt8(truncatingIfNeeded: key >> (24 - 8 * $0)) }
        let expected = original.enumerated().map { $1 ^ keyBytes[$0 & 3] }

        let margin = [UInt8](repeating: 0xEE, count: alignment)
        var buffer = margin + original + margin
        var offset = 0
        for piece in original.pieces(seed: seed) {
            let range = (alignment + offset)..<(alignment + offset + piece.count)
            buffer.withUnsafeMutableBytes { bytes in
                Masking.apply(key, offset: offset, to: UnsafeMutableRawBufferPointer(rebasing: bytes[range]))
            }
            offset += piece.count
        }
        try check(buffer == margin + expected + margin, "masked otherwise than byte by byte")
    }
}

/// What the parser made of a stream, without the boundaries between pieces.
private struct FrameLog: Equatable {
    /// The frames as a serializer writes them.
    var written: [UInt8] = []
    var violation: ProtocolViolation?

    init(
        _ bytes: [UInt8],
        pieces: [ArraySlice<UInt8>],
        expectsMask: Bool,
        allowed: FrameHeader.ReservedBits
    ) {
        var parser = FrameParser(expectsMask: expectsMask, allowedReservedBits: allowed)
        for piece in pieces where violation == nil {
            piece.withUnsafeBytes { bytes in
                var input = bytes
                do throws(ProtocolViolation) {
                    while let event = try parser.next(&input) {
                        switch event {
                        case .header(let header): FrameSerializer.append(header, to: &written)
                        case .payload(let chunk, _, _): written += chunk
                        }
                    }
                } catch {
                    violation = error
                }
            }
        }
    }
}
