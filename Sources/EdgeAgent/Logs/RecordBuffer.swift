import Glibc

/// Records of a log, laid out one after the other as they go into the file. Raw memory, filled again and again: a bot
/// that writes hundreds of megabytes a second costs two copies of each line and no allocation.
struct RecordBuffer: ~Copyable {
    /// Once it holds this much it is due to be written.
    static let writeBytes = 256 << 10
    private static let initialBytes = 16 << 10

    private var memory: UnsafeMutableRawBufferPointer
    /// How much of the memory is filled.
    private(set) var byteCount = 0
    /// Whole records in it.
    private(set) var recordCount = 0
    /// "2026-… stdout F ": what stands in front of each record of one stream in this moment.
    private var header: [UInt8] = []

    init() {
        memory = .allocate(byteCount: Self.initialBytes, alignment: 16)
    }

    deinit {
        memory.deallocate()
    }

    var bytes: UnsafeRawBufferPointer { UnsafeRawBufferPointer(rebasing: memory[..<byteCount]) }
    var isDue: Bool { byteCount >= Self.writeBytes }

    /// Records that follow are of this time. Once for everything that was read at once.
    mutating func begin(at time: timespec) {
        header.removeAll(keepingCapacity: true)
        header += LogTimestamp.text(time)
    }

    /// Appends one record under the time given last.
    ///
    /// - Parameter text: one line without its newline.
    mutating func append(_ stream: LogStream, isTruncated: Bool = false, _ text: UnsafeRawBufferPointer) {
        let name = stream.name
        let needed = header.count + name.utf8CodeUnitCount + 5 + text.count
        if memory.count - byteCount < needed { grow(to: byteCount + needed) }
        guard var target = memory.baseAddress.map({ $0 + byteCount }) else { return }
        header.withUnsafeBytes { header in
            if let base = header.baseAddress { target.copyMemory(from: base, byteCount: header.count) }
        }
        target += header.count
        target.storeBytes(of: UInt8(ascii: " "), as: UInt8.self)
        (target + 1).copyMemory(from: name.utf8Start, byteCount: name.utf8CodeUnitCount)
        target += 1 + name.utf8CodeUnitCount
        target.storeBytes(of: UInt8(ascii: " "), as: UInt8.self)
        (target + 1).storeBytes(of: isTruncated ? UInt8(ascii: "P") : UInt8(ascii: "F"), as: UInt8.self)
        (target + 2).storeBytes(of: UInt8(ascii: " "), as: UInt8.self)
        target += 3
        if let base = text.baseAddress { target.copyMemory(from: base, byteCount: text.count) }
        (target + text.count).storeBytes(of: UInt8(ascii: "\n"), as: UInt8.self)
        byteCount += needed
        recordCount += 1
    }

    mutating func removeAll() {
        byteCount = 0
        recordCount = 0
        // What one long line or a burst needed is given back.
        if memory.count > 2 * Self.writeBytes { replaceMemory(Self.initialBytes) }
    }

    private mutating func grow(to needed: Int) {
        var size = memory.count
        while size < needed { size *= 2 }
        replaceMemory(size)
    }

    private mutating func replaceMemory(_ size: Int) {
        let larger = UnsafeMutableRawBufferPointer.allocate(byteCount: size, alignment: 16)
        if byteCount > 0 { larger.copyMemory(from: bytes) }
        memory.deallocate()
        memory = larger
    }
}
