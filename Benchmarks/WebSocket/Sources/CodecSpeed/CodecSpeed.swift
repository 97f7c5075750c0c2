import Glibc

/// How fast the kit's two byte-by-byte duties are, beside `memcpy` over the same buffer.
public enum CodecSpeed {
    /// Long enough for a steady figure, short enough to be repeated.
    private static let bytesPerFigure = 4 << 30

    /// - Returns: One line of JSON for each measured thing: `{"what","size","gb_s"}`, GB being 10⁹ bytes.
    public static func measure() -> [String] {
        [(16 << 10), (1 << 20)].flatMap { size in
            [
                line("memcpy", size, memcpySpeed(size)),
                line("mask", size, maskSpeed(size)),
                line("utf8-ascii", size, validationSpeed(repeated("The link is up; all bots run. ", size))),
                line("utf8-mixed", size, validationSpeed(repeated("Grüße, 日本語, привет, 🙂 ok. ", size))),
            ]
        }
    }

    private static func line(_ what: String, _ size: Int, _ bytesPerNanosecond: Double) -> String {
        "{\"what\":\"\(what)\",\"size\":\(size),\"gb_s\":\((bytesPerNanosecond * 100).rounded() / 100)}"
    }

    private static func repeated(_ text: String, _ size: Int) -> [UInt8] {
        let bytes = Array(text.utf8)
        return (0..<(size / bytes.count)).flatMap { _ in bytes }
    }

    private static func memcpySpeed(_ size: Int) -> Double {
        let from = UnsafeMutableRawPointer.allocate(byteCount: size, alignment: 64)
        let to = UnsafeMutableRawPointer.allocate(byteCount: size, alignment: 64)
        defer {
            from.deallocate()
            to.deallocate()
        }
        memset(from, 7, size)
        return speed(size) { memcpy(to, from, size) }
    }

    private static func maskSpeed(_ size: Int) -> Double {
        let bytes = UnsafeMutableRawBufferPointer.allocate(byteCount: size, alignment: 64)
        defer { bytes.deallocate() }
        bytes.initializeMemory(as: UInt8.self, repeating: 7)
        return speed(size) { Masking.apply(0x37FA_213D, offset: 1, to: bytes) }
    }

    private static func validationSpeed(_ text: [UInt8]) -> Double {
        var isValid = true
        let figure = text.withUnsafeBytes { bytes in
            speed(bytes.count) {
                var validator = UTF8Validator()
                isValid = validator.validate(bytes) && isValid
            }
        }
        return isValid ? figure : 0
    }

    private static func speed(_ size: Int, _ body: () -> Void) -> Double {
        body()
        let rounds = bytesPerFigure / size
        let start = now()
        for _ in 0..<rounds { body() }
        return Double(rounds * size) / Double(now() - start)
    }

    private static func now() -> UInt64 {
        var time = timespec()
        clock_gettime(CLOCK_MONOTONIC, &time)
        return UInt64(time.tv_sec) * 1_000_000_000 + UInt64(time.tv_nsec)
    }
}
