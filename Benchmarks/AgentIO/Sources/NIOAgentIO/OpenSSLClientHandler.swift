import COpenSSL
import NIOCore

/// TLS for a client channel: the system's OpenSSL between two memory BIOs, so that NIO keeps the socket.
final class OpenSSLClientHandler: ChannelDuplexHandler {
    typealias InboundIn = ByteBuffer
    typealias InboundOut = ByteBuffer
    typealias OutboundIn = ByteBuffer
    typealias OutboundOut = ByteBuffer

    struct Failure: Error {
        var what: String
    }

    /// The most plaintext handed on at once; four records of TLS.
    private static let readBytes = 64 * 1024

    private let context: OpaquePointer
    private let ssl: OpaquePointer
    private let ciphertextIn: OpaquePointer
    private let ciphertextOut: OpaquePointer
    private let established: EventLoopPromise<Void>
    private var isEstablished = false
    private var waiting: [(ByteBuffer, EventLoopPromise<Void>?)] = []

    /// - Parameter established: kept when the handshake is done and the certificate was accepted.
    init(hostName: String, authorityFile: String, established: EventLoopPromise<Void>) throws {
        guard let context = SSL_CTX_new(TLS_client_method()), let ssl = SSL_new(Self.prepared(context)),
            let ciphertextIn = BIO_new(BIO_s_mem()), let ciphertextOut = BIO_new(BIO_s_mem())
        else { throw Failure(what: "OpenSSL is out of memory") }
        (self.context, self.ssl, self.established) = (context, ssl, established)
        (self.ciphertextIn, self.ciphertextOut) = (ciphertextIn, ciphertextOut)
        SSL_set_bio(ssl, ciphertextIn, ciphertextOut)
        guard SSL_CTX_load_verify_locations(context, authorityFile, nil) == 1 else {
            throw Failure(what: "cannot read \(authorityFile)")
        }
        SSL_set_connect_state(ssl)
        SSL_set_verify(ssl, SSL_VERIFY_PEER, nil)
        guard SSL_set1_host(ssl, hostName) == 1, COpenSSL_set_server_name_indication(ssl, hostName) == 1 else {
            throw Failure(what: "bad host name")
        }
    }

    deinit {
        SSL_free(ssl)
        SSL_CTX_free(context)
    }

    private static func prepared(_ context: OpaquePointer) -> OpaquePointer {
        _ = COpenSSL_set_minimum_version_tls12(context)
        COpenSSL_set_nonblocking_modes(context)
        return context
    }

    func channelActive(context: ChannelHandlerContext) {
        advance(context)
        context.fireChannelActive()
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        unwrapInboundIn(data).withUnsafeReadableBytes { bytes in
            _ = BIO_write(ciphertextIn, bytes.baseAddress, Int32(bytes.count))
        }
        advance(context)
    }

    func write(context: ChannelHandlerContext, data: NIOAny, promise: EventLoopPromise<Void>?) {
        let plaintext = unwrapOutboundIn(data)
        guard isEstablished else { return waiting.append((plaintext, promise)) }
        encrypt(plaintext, context, promise)
    }

    func flush(context: ChannelHandlerContext) {
        sendCiphertext(context, promise: nil)
        context.flush()
    }

    func channelInactive(context: ChannelHandlerContext) {
        fail(ChannelError.eof, context)
        context.fireChannelInactive()
    }

    private func advance(_ context: ChannelHandlerContext) {
        if !isEstablished {
            let result = SSL_do_handshake(ssl)
            if result == 1 {
                isEstablished = true
                established.succeed()
                let writes = waiting
                waiting = []
                for (plaintext, promise) in writes { encrypt(plaintext, context, promise) }
            } else if SSL_get_error(ssl, result) != SSL_ERROR_WANT_READ {
                return fail(Failure(what: "TLS handshake failed"), context)
            }
            flush(context: context)
        }
        guard isEstablished else { return }
        while true {
            var plaintext = context.channel.allocator.buffer(capacity: Self.readBytes)
            var result: Int32 = 0
            plaintext.writeWithUnsafeMutableBytes(minimumWritableBytes: Self.readBytes) { bytes in
                var filled = 0
                // SSL_read gives one record at a time; collect what is there.
                while filled < Self.readBytes {
                    result = SSL_read(ssl, bytes.baseAddress?.advanced(by: filled), Int32(Self.readBytes - filled))
                    guard result > 0 else { break }
                    filled += Int(result)
                }
                return filled
            }
            if plaintext.readableBytes > 0 { context.fireChannelRead(wrapInboundOut(plaintext)) }
            if result > 0 { continue }
            switch SSL_get_error(ssl, result) {
            case SSL_ERROR_WANT_READ: break
            case SSL_ERROR_ZERO_RETURN: context.close(promise: nil)
            default: fail(Failure(what: "TLS read failed"), context)
            }
            break
        }
        // A key update or alert may have been answered.
        flush(context: context)
        context.fireChannelReadComplete()
    }

    private func encrypt(_ plaintext: ByteBuffer, _ context: ChannelHandlerContext, _ promise: EventLoopPromise<Void>?)
    {
        let written = plaintext.withUnsafeReadableBytes { bytes in
            var done = 0
            while done < bytes.count {
                let result = SSL_write(ssl, bytes.baseAddress?.advanced(by: done), Int32(bytes.count - done))
                guard result > 0 else { return false }
                done += Int(result)
            }
            return true
        }
        guard written else {
            promise?.fail(Failure(what: "TLS write failed"))
            return fail(Failure(what: "TLS write failed"), context)
        }
        sendCiphertext(context, promise: promise)
    }

    private func sendCiphertext(_ context: ChannelHandlerContext, promise: EventLoopPromise<Void>?) {
        let count = Int(BIO_ctrl_pending(ciphertextOut))
        guard count > 0 else {
            promise?.succeed()
            return
        }
        var ciphertext = context.channel.allocator.buffer(capacity: count)
        ciphertext.writeWithUnsafeMutableBytes(minimumWritableBytes: count) { bytes in
            max(0, Int(BIO_read(ciphertextOut, bytes.baseAddress, Int32(count))))
        }
        context.write(wrapOutboundOut(ciphertext), promise: promise)
    }

    private func fail(_ error: any Error, _ context: ChannelHandlerContext) {
        if !isEstablished { established.fail(error) }
        let writes = waiting
        waiting = []
        for (_, promise) in writes { promise?.fail(error) }
        context.fireErrorCaught(error)
        context.close(promise: nil)
    }
}
