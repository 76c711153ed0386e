"""What takes the place of CTC in ESPnet's model: OTTC and the baselines that it is compared with."""
