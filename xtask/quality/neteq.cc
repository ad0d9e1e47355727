// Plays a file of received RTP packets through WebRTC's own NetEQ in virtual time: the peer of
// `cargo xtask quality`, linked with Debian's libtgowt-dev, which carries WebRTC's code as it is.
//
//   neteq PACKETS OUT.pcm RATE MILLISECONDS PT=NAME/CLOCK/CHANNELS…
//
// PACKETS: records of a little-endian u64 (arrival in microseconds), a u16 (length) and the packet.
// OUT.pcm: 16-bit little-endian mono. Standard output: one line of JSON with NetEQ's own counters.

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "api/audio/audio_frame.h"
#include "api/audio_codecs/L16/audio_decoder_L16.h"
#include "api/audio_codecs/audio_decoder_factory_template.h"
#include "api/audio_codecs/g711/audio_decoder_g711.h"
#include "api/audio_codecs/g722/audio_decoder_g722.h"
#include "api/audio_codecs/opus/audio_decoder_opus.h"
#include "api/neteq/neteq.h"
#include "modules/audio_coding/neteq/default_neteq_factory.h"
#include "system_wrappers/include/clock.h"

struct Packet {
  uint64_t at_us;
  std::vector<uint8_t> bytes;
};

static std::vector<Packet> ReadPackets(const char* path) {
  std::vector<Packet> packets;
  FILE* file = std::fopen(path, "rb");
  uint8_t head[10];
  while (file && std::fread(head, 1, sizeof head, file) == sizeof head) {
    Packet packet{0, {}};
    for (int i = 7; i >= 0; --i) packet.at_us = packet.at_us << 8 | head[i];
    packet.bytes.resize(head[8] | head[9] << 8);
    if (packet.bytes.size() < 12) break;
    if (std::fread(packet.bytes.data(), 1, packet.bytes.size(), file) != packet.bytes.size()) break;
    packets.push_back(std::move(packet));
  }
  if (file) std::fclose(file);
  return packets;
}

static void Insert(webrtc::NetEq& neteq, const Packet& packet) {
  const uint8_t* b = packet.bytes.data();
  webrtc::RTPHeader header;
  header.markerBit = b[1] >> 7;
  header.payloadType = b[1] & 0x7f;
  header.sequenceNumber = b[2] << 8 | b[3];
  header.timestamp = uint32_t{b[4]} << 24 | b[5] << 16 | b[6] << 8 | b[7];
  header.ssrc = uint32_t{b[8]} << 24 | b[9] << 16 | b[10] << 8 | b[11];
  header.numCSRCs = 0;
  header.headerLength = 12;
  header.paddingLength = 0;
  neteq.InsertPacket(header, rtc::ArrayView<const uint8_t>(b + 12, packet.bytes.size() - 12));
}

int main(int argc, char** argv) {
  if (argc < 6) {
    std::fprintf(stderr, "neteq PACKETS OUT.pcm RATE MILLISECONDS PT=NAME/CLOCK/CHANNELS...\n");
    return 2;
  }
  const std::vector<Packet> packets = ReadPackets(argv[1]);
  FILE* out = std::fopen(argv[2], "wb");
  if (!out) return 1;
  const long milliseconds = std::atol(argv[4]);
  webrtc::SimulatedClock clock(1000000);
  webrtc::NetEq::Config config;
  config.sample_rate_hz = std::atoi(argv[3]);
  std::unique_ptr<webrtc::NetEq> neteq = webrtc::DefaultNetEqFactory().CreateNetEq(
      config,
      webrtc::CreateAudioDecoderFactory<webrtc::AudioDecoderOpus, webrtc::AudioDecoderG722,
                                        webrtc::AudioDecoderG711, webrtc::AudioDecoderL16>(),
      &clock);
  for (int i = 5; i < argc; ++i) {
    int type = 0, rate = 0, channels = 1;
    char name[32] = {0};
    if (std::sscanf(argv[i], "%d=%31[^/]/%d/%d", &type, name, &rate, &channels) < 3 ||
        !neteq->RegisterPayloadType(
            type, webrtc::SdpAudioFormat(name, rate, static_cast<size_t>(channels)))) {
      std::fprintf(stderr, "NetEQ does not take %s\n", argv[i]);
      return 1;
    }
  }
  size_t next = 0;
  webrtc::AudioFrame frame;
  for (long ms = 0; ms < milliseconds; ms += 10) {
    for (; next < packets.size() && packets[next].at_us <= uint64_t(ms) * 1000; ++next) {
      const int64_t at = 1000000 + int64_t(packets[next].at_us);
      if (at > clock.TimeInMicroseconds()) {
        clock.AdvanceTimeMicroseconds(at - clock.TimeInMicroseconds());
      }
      Insert(*neteq, packets[next]);
    }
    clock.AdvanceTimeMicroseconds(1000000 + int64_t(ms) * 1000 - clock.TimeInMicroseconds());
    bool muted = false;
    if (neteq->GetAudio(&frame, &muted) != webrtc::NetEq::kOK) return 1;
    const int16_t* samples = frame.data();
    for (size_t i = 0; i < frame.samples_per_channel_; ++i) {
      const int16_t sample = samples[i * frame.num_channels_];
      const uint8_t bytes[2] = {uint8_t(sample & 0xff), uint8_t(uint16_t(sample) >> 8)};
      std::fwrite(bytes, 1, 2, out);
    }
  }
  std::fclose(out);
  const webrtc::NetEqLifetimeStatistics s = neteq->GetLifetimeStatistics();
  std::printf(
      "{\"rate\":%d,\"received\":%llu,\"concealed\":%llu,\"silent\":%llu,\"inserted\":%llu,"
      "\"removed\":%llu,\"buffer_ms\":%.1f}\n",
      neteq->last_output_sample_rate_hz(), (unsigned long long)s.total_samples_received,
      (unsigned long long)s.concealed_samples, (unsigned long long)s.silent_concealed_samples,
      (unsigned long long)s.inserted_samples_for_deceleration,
      (unsigned long long)s.removed_samples_for_acceleration,
      s.jitter_buffer_emitted_count
          ? double(s.jitter_buffer_delay_ms) / double(s.jitter_buffer_emitted_count)
          : 0.0);
  return 0;
}
