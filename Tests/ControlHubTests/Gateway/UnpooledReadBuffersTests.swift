import NIOCore
import Testing

@testable import ControlHub

@Suite("Buffers for what a connection receives")
struct UnpooledReadBuffersTests {
    /// Reads once, as much as there is room for but at most `bytes`.
    private func read(_ bytes: Int, into buffers: inout NIOPooledRecvBufferAllocator) -> ByteBuffer {
        let (buffer, count) = buffers.buffer(allocator: ByteBufferAllocator()) { buffer in
            buffer.writeRepeatingByte(1, count: min(bytes, buffer.writableBytes))
        }
        buffers.record(actualReadBytes: count)
        return buffer
    }

    @Test("large ones are given back, and are small again once there is little to read")
    func released() {
        var buffers = NIOPooledRecvBufferAllocator(capacity: 1, recvAllocator: UnpooledReadBuffers())
        // Nobody holds a buffer when the next is asked for.
        for _ in 0..<20 { _ = read(.max, into: &buffers) }
        var large = read(.max, into: &buffers)
        #expect(large.readableBytes == 16 << 10)
        #expect(large.modifyIfUniquelyOwned { _ in true } == true, "NIO keeps it, too")

        for _ in 0..<20 { _ = read(100, into: &buffers) }
        #expect(read(100, into: &buffers).storageCapacity <= 512)
    }
}
