// Boost.Beast, the way its documentation shows it: a blocking client, an asynchronous server on one thread. With
// BEAST_ASYNCHRONOUS in the environment its round trips are asynchronous calls, as those of an event loop must be.
#include "peer.h"

#include <boost/asio/ssl.hpp>
#include <boost/beast/core.hpp>
#include <boost/beast/ssl.hpp>
#include <boost/beast/websocket.hpp>
#include <boost/beast/websocket/ssl.hpp>
#include <cstdlib>
#include <memory>
#include <string>
#include <vector>

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = beast::http;
namespace ssl = asio::ssl;
namespace websocket = beast::websocket;
using tcp = asio::ip::tcp;

using Plain = beast::tcp_stream;
using Secure = beast::ssl_stream<beast::tcp_stream>;

template <class Next>
void tune(websocket::stream<Next> &ws, bool deflate) {
    beast::get_lowest_layer(ws).socket().set_option(tcp::no_delay(true));
    ws.binary(true);
    ws.auto_fragment(false);
    ws.write_buffer_bytes(64 * 1024);  // Whole messages go to TLS at once; the default of 4 KiB is much slower.
    ws.read_message_max(64 << 20);
    websocket::permessage_deflate pmd;
    pmd.client_enable = pmd.server_enable = deflate;
    ws.set_option(pmd);
}

// MARK: Server

template <class Next>
class Session : public std::enable_shared_from_this<Session<Next>> {
  public:
    Session(Next next, bool deflate) : ws_(std::move(next)) {
        tune(ws_, deflate);
        auto timeouts = websocket::stream_base::timeout::suggested(beast::role_type::server);
        timeouts.idle_timeout = websocket::stream_base::none();
        ws_.set_option(timeouts);
    }

    void start() {
        if constexpr (std::is_same_v<Next, Secure>)
            ws_.next_layer().async_handshake(ssl::stream_base::server, [self = this->shared_from_this()](auto error) {
                if (!error) self->upgrade();
            });
        else
            upgrade();
    }

  private:
    void upgrade() {
        // Lives only as long as the handshake.
        auto request = std::make_shared<http::request<http::string_body>>();
        auto head = std::make_shared<beast::flat_buffer>();
        http::async_read(ws_.next_layer(), *head, *request,
                         [self = this->shared_from_this(), request, head](auto error, std::size_t) {
                             if (error) return;
                             auto target = request->target();
                             self->behaviour_ = target == "/sink" ? 's' : target == "/source" ? 'o' : 'e';
                             self->ws_.async_accept(*request, [self, request](auto error) {
                                 if (!error) self->read();
                             });
                         });
    }

    void read() {
        ws_.async_read(buffer_, [self = this->shared_from_this()](auto error, std::size_t) {
            if (!error) self->received();
        });
    }

    void received() {
        switch (behaviour_) {
        case 'e':
            ws_.text(ws_.got_text());
            return write(buffer_.data(), [this] {
                buffer_.consume(buffer_.size());
                read();
            });
        case 's':
            if (ws_.got_binary()) {
                messages_++;
                bytes_ += buffer_.size();
                buffer_.consume(buffer_.size());
                return read();
            }
            answer_ = std::to_string(messages_) + " " + std::to_string(bytes_);
            messages_ = bytes_ = 0;
            buffer_.consume(buffer_.size());
            ws_.text(true);
            return write(asio::buffer(answer_), [this] { read(); });
        default: {
            auto order = beast::buffers_to_string(buffer_.data());
            buffer_.consume(buffer_.size());
            std::size_t size = 0;
            if (sscanf(order.c_str(), "%zu %zu", &size, &left_) != 2) return;
            message_.resize(size);
            peer_fill(message_.data(), size);
            ws_.binary(true);
            return emit();
        }
        }
    }

    void emit() {
        if (left_ == 0) return read();
        left_--;
        write(asio::buffer(message_), [this] { emit(); });
    }

    template <class Buffers, class Then>
    void write(Buffers buffers, Then then) {
        ws_.async_write(buffers, [self = this->shared_from_this(), then](auto error, std::size_t) {
            if (!error) then();
        });
    }

    websocket::stream<Next> ws_;
    beast::flat_buffer buffer_;
    std::string answer_;
    std::vector<unsigned char> message_;
    std::size_t messages_ = 0, bytes_ = 0, left_ = 0;
    char behaviour_ = 'e';
};

static void accept(asio::io_context &io, tcp::acceptor &acceptor, ssl::context *context, bool deflate) {
    acceptor.async_accept(io, [&io, &acceptor, context, deflate](auto error, tcp::socket socket) {
        if (error) peer_fail("cannot accept");
        if (context)
            std::make_shared<Session<Secure>>(Secure(std::move(socket), *context), deflate)->start();
        else
            std::make_shared<Session<Plain>>(Plain(std::move(socket)), deflate)->start();
        accept(io, acceptor, context, deflate);
    });
}

static void server(const peer_options &o) {
    asio::io_context io{1};
    ssl::context context{ssl::context::tlsv13_server};
    if (o.tls) {
        context.use_certificate_chain_file(o.cert);
        context.use_private_key_file(o.key, ssl::context::pem);
    }
    tcp::acceptor acceptor{io, {asio::ip::address_v4::loopback(), static_cast<unsigned short>(o.port)}};
    accept(io, acceptor, o.tls ? &context : nullptr, o.deflate);
    io.run();
}

// MARK: Client

/// Round trips by asynchronous calls on an io_context, each begun where the one before ends.
template <class Next>
class RoundTrips {
  public:
    RoundTrips(websocket::stream<Next> &ws, const peer_options &o) : ws_(ws), o_(o), message_(o.size), samples_(o.count) {
        peer_fill(message_.data(), o.size);
    }

    void next() {
        if (done_ == o_.count + o_.count / 10) return peer_print_rtt(&o_, samples_.data());
        start_ = peer_now();
        ws_.async_write(asio::buffer(message_), [this](auto error, std::size_t) {
            if (error) peer_fail("cannot write");
            read();
        });
    }

  private:
    void read() {
        ws_.async_read(buffer_, [this](auto error, std::size_t size) {
            if (error || size != o_.size) peer_fail("the answer is not what was sent");
            auto took = peer_now() - start_;
            if (done_ >= o_.count / 10) samples_[done_ - o_.count / 10] = took;
            done_++;
            buffer_.consume(size);
            next();
        });
    }

    websocket::stream<Next> &ws_;
    const peer_options &o_;
    std::vector<unsigned char> message_;
    std::vector<uint64_t> samples_;
    beast::flat_buffer buffer_;
    uint64_t start_ = 0;
    std::size_t done_ = 0;
};

template <class Next>
void measure(websocket::stream<Next> &ws, const peer_options &o) {
    std::vector<unsigned char> message(o.size);
    peer_fill(message.data(), o.size);
    beast::flat_buffer buffer;
    auto read = [&] {
        buffer.consume(buffer.size());
        return ws.read(buffer);
    };
    if (o.mode == MODE_RTT) {
        std::vector<uint64_t> samples(o.count);
        for (std::size_t i = 0; i < o.count + o.count / 10; i++) {
            auto start = peer_now();
            ws.write(asio::buffer(message));
            if (read() != o.size) peer_fail("the answer is not what was sent");
            if (i >= o.count / 10) samples[i - o.count / 10] = peer_now() - start;
        }
        return peer_print_rtt(&o, samples.data());
    }
    auto start = peer_now();
    if (o.mode == MODE_SEND) {
        for (std::size_t i = 0; i < o.count; i++) ws.write(asio::buffer(message));
        ws.text(true);
        ws.write(asio::buffer("?", 1));
        read();
        auto end = peer_now();
        if (beast::buffers_to_string(buffer.data()) != std::to_string(o.count) + " " + std::to_string(o.count * o.size))
            peer_fail("the server counted differently");
        peer_print_throughput(&o, end - start);
    } else {
        ws.text(true);
        ws.write(asio::buffer(std::to_string(o.size) + " " + std::to_string(o.count)));
        for (std::size_t i = 0; i < o.count; i++)
            if (read() != o.size) peer_fail("a message is not what was asked for");
        peer_print_throughput(&o, peer_now() - start);
    }
}

static void client(const peer_options &o) {
    asio::io_context io{1};
    tcp::endpoint address{asio::ip::address_v4::loopback(), static_cast<unsigned short>(o.port)};
    auto host = "127.0.0.1:" + std::to_string(o.port);
    auto run = [&](auto &ws) {
        tune(ws, o.deflate);
        ws.handshake(host, o.path);
        if (o.mode == MODE_RTT && std::getenv("BEAST_ASYNCHRONOUS")) {
            RoundTrips trips{ws, o};
            trips.next();
            io.run();
        } else {
            measure(ws, o);
        }
    };
    if (o.tls) {
        ssl::context context{ssl::context::tlsv13_client};
        context.load_verify_file(o.ca);
        websocket::stream<Secure> ws{io, context};
        ws.next_layer().set_verify_mode(ssl::verify_peer);
        ws.next_layer().set_verify_callback(ssl::host_name_verification("127.0.0.1"));
        beast::get_lowest_layer(ws).socket().connect(address);
        ws.next_layer().handshake(ssl::stream_base::client);
        run(ws);
    } else {
        websocket::stream<Plain> ws{io};
        beast::get_lowest_layer(ws).socket().connect(address);
        run(ws);
    }
}

int main(int argc, char **argv) {
    auto o = peer_parse(argc, argv);
    try {
        o.is_server ? server(o) : client(o);
    } catch (const std::exception &error) {
        peer_fail(error.what());
    }
}
